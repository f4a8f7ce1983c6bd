"""Every fault of a submission at once, in a folder or in its archive."""

from __future__ import annotations

import logging
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from anomalyvfm.data import ImageError, read_many, read_size
from anomalyvfm.errors import InputError
from anomalyvfm.submission.targets import MAPS, Target

if TYPE_CHECKING:
    from anomalyvfm.tracking import Tracker

OWN_FILES = frozenset({"submission.json", "submission.tar.gz"})
"""What `anomalyvfm submit` keeps beside the two folders; in an archive they are as stray as any other."""

_AHEAD = 8

# A damaged TIFF is a fault of ours to report; tifffile would also log it to stderr.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class _Entry:
    """Something in the submission, by its path there."""

    name: str
    kind: Literal["file", "folder", "other"]
    read: Callable[[], bytes]


@dataclass(frozen=True)
class _Finding:
    """What was seen in one file: its (height, width) where it could be read, and what is wrong with it."""

    size: tuple[int, int] | None
    faults: list[str]


def check_submission(place: Path, targets: Sequence[Target], track: Tracker | None = None) -> list[str]:
    """Compare a folder or a .tar.gz with what must be in it; one line ``path: fault`` each, sorted by path.

    Checked are the names, the type, channels and values of every file, that a map and its mask have the
    same size, and, for targets that name an image, that it is the image's. A folder of which nothing is
    there is one fault, not one for each of its files. Raises InputError where there is nothing to check.
    """
    expected = {name: target for target in targets for name in (target.map, target.mask)}
    folders = {folder for name in expected for folder in _parents(name)}
    faults: list[tuple[str, str]] = []
    found: dict[str, _Finding] = {}

    def expected_files() -> Iterator[_Entry]:
        seen: set[str] = set()
        for entry in _entries(place, folders, faults):
            if entry.kind == "other":
                faults.append((entry.name, "a link or special file; put the file itself there"))
            elif entry.name in seen:
                faults.append((entry.name, "there more than once"))
            elif entry.kind == "file" and entry.name in expected:
                seen.add(entry.name)
                yield entry
            elif entry.kind == "file" or entry.name not in folders:
                faults.append((entry.name, f"stray {entry.kind}; nothing else may be in a submission"))

    findings: Iterable[tuple[_Entry, _Finding | ImageError]] = read_many(
        expected_files(), _examine, ahead=_AHEAD
    )
    if track is not None:
        findings = track(findings, len(expected), "checking")
    for entry, finding in findings:
        assert isinstance(finding, _Finding)
        found[entry.name] = finding
        faults += [(entry.name, fault) for fault in finding.faults]
    faults += _missing(expected, found.keys())
    faults += _sizes(targets, found)
    return [f"{_printable(name)}: {fault}" for name, fault in sorted(set(faults))]


def _entries(place: Path, folders: Set[str], faults: list[tuple[str, str]]) -> Iterator[_Entry]:
    if place.is_dir():
        return _in_folder(place, "", folders)
    if place.is_file() and place.name.endswith((".tar.gz", ".tgz")):
        return _in_archive(place, folders, faults)
    if place.exists():
        raise InputError(f"{place}: neither a folder nor a .tar.gz; give one of the two")
    raise InputError(f"{place}: no such folder; give the --out of `anomalyvfm submit` or a .tar.gz")


def _in_folder(folder: Path, prefix: str, folders: Set[str]) -> Iterator[_Entry]:
    """What is in a folder and its expected subfolders; a stray one is not looked into."""
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from None
    for child in children:
        name = prefix + child.name
        if child.is_symlink() or not (child.is_file() or child.is_dir()):
            yield _Entry(name, "other", bytes)
        elif child.is_dir():
            yield _Entry(name, "folder", bytes)
            if name in folders:
                yield from _in_folder(child, f"{name}/", folders)
        elif name not in OWN_FILES and (prefix or not name.startswith(".")):  # hidden: our marker and lock
            yield _Entry(name, "file", child.read_bytes)


def _in_archive(archive: Path, folders: Set[str], faults: list[tuple[str, str]]) -> Iterator[_Entry]:
    """What is in an archive, member by member; the contents of a stray folder are named once, by it."""
    named: set[str] = set()
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if stray := next((parent for parent in _parents(name) if parent not in folders), None):
                    if stray not in named:
                        named.add(stray)
                        yield _Entry(stray, "folder", bytes)
                elif member.isdir():
                    if name not in named | {".", ""}:
                        named.add(name)
                        yield _Entry(name, "folder", bytes)
                elif stream := tar.extractfile(member) if member.isfile() else None:
                    content = stream.read()  # members can only be read in turn
                    yield _Entry(name, "file", partial(bytes, content))
                else:
                    yield _Entry(name, "other", bytes)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        faults.append((archive.name, f"truncated or damaged ({_reason(error)}); pack it again"))


def _examine(entry: _Entry) -> _Finding:
    try:
        content = entry.read()
    except OSError as error:
        return _Finding(None, [f"cannot be read ({error.strerror}); check its permissions"])
    return _examine_map(content) if entry.name.startswith(f"{MAPS}/") else _examine_mask(content)


def _examine_map(content: bytes) -> _Finding:
    faults = []
    try:
        with tifffile.TiffFile(BytesIO(content)) as tiff:
            pages, page = len(tiff.pages), tiff.pages.first
            values = np.asarray(page.asarray())
    except Exception as error:  # tifffile raises nearly every type on a damaged file
        return _Finding(None, [f"not a readable TIFF ({_reason(error)})"])
    if pages != 1:
        faults.append(f"{pages} pages; a map is one")
    if page.samplesperpixel != 1:
        faults.append(f"{page.samplesperpixel} channels; a map has one")
    if values.dtype != np.float16:
        faults.append(f"type {values.dtype}; a map is float16")
    if values.dtype.kind in "fc" and (wrong := values.size - int(np.isfinite(values).sum())):
        faults.append(f"{wrong} value{'s are' if wrong > 1 else ' is'} NaN or infinite")
    return _Finding((int(page.imagelength), int(page.imagewidth)), faults)


def _examine_mask(content: bytes) -> _Finding:
    try:
        with Image.open(BytesIO(content), formats=("PNG",)) as image:
            image.load()
    except UnidentifiedImageError:  # its own message names a memory address
        return _Finding(None, ["not a readable PNG (not a PNG file)"])
    except Exception as error:  # as does Pillow
        return _Finding(None, [f"not a readable PNG ({_reason(error)})"])
    size = image.height, image.width
    if image.mode != "L":
        channels = len(image.getbands())
        what = f"{channels} channels" if channels > 1 else f"mode {image.mode}"
        return _Finding(size, [f"{what}; a thresholded map is 8-bit grey with one channel"])
    values = [value for value, count in enumerate(image.histogram()) if count and value not in (0, 255)]
    if not values:
        return _Finding(size, [])
    shown = ", ".join(map(str, values[:4])) + (f" and {len(values) - 4} others" if len(values) > 4 else "")
    return _Finding(size, [f"value{'s' * (len(values) > 1)} {shown}; only 0 and 255 are allowed"])


def _missing(expected: Iterable[str], found: Set[str]) -> Iterator[tuple[str, str]]:
    used = {folder for name in found for folder in _parents(name)}
    empty: Counter[str] = Counter()
    for name in expected:
        if name in found:
            continue
        if folder := next((parent for parent in _parents(name) if parent not in used), None):
            empty[folder] += 1
        else:
            yield name, "missing"
    for folder, count in empty.items():
        yield folder, f"all {count} files missing"


def _sizes(targets: Iterable[Target], found: dict[str, _Finding]) -> Iterator[tuple[str, str]]:
    for target in targets:
        sizes = {name: found[name].size for name in (target.map, target.mask) if name in found}
        right, whose = sizes.get(target.map), "its map"
        if target.image is not None:
            # An unreadable image is no fault of the submission, and then the map's size must do.
            with suppress(ImageError):
                right, whose = read_size(target.image), "the image"
        for name, size in sizes.items():
            if size and right and size != right:
                yield name, f"{size[0]}×{size[1]} pixels, but {whose} has {right[0]}×{right[1]}"


def _parents(name: str) -> list[str]:
    """The folders a path goes through, from the top."""
    return [str(parent) for parent in reversed(PurePosixPath(name).parents)][1:]


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)
