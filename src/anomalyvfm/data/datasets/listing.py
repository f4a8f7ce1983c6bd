"""What lies in a folder: images, subfolders, and the masks that belong to images. Nothing is decoded.

Only the folder itself is looked into, never what is below, so a symlink that leads back up is harmless.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from anomalyvfm.data.datasets.sample import DEFECT, GOOD, Sample
from anomalyvfm.data.reading import SUFFIXES
from anomalyvfm.errors import ImageWarning, InputError

TRUTH = "ground_truth"

_GOOD_NAMES = ("good", "ok", "normal")

_NAMED = 5  # of the files left out; the others are counted

_CONDITION = re.compile(r"\d+_(regular|overexposed|underexposed|shift_[123]|mixed)", re.ASCII)


def list_images(folder: Path) -> list[Path]:
    """The image files in a folder, in natural order; none if there is no such folder."""
    return [path for path in _visible(folder) if _is_image(path)]


def given_images(folder: Path) -> list[Path]:
    """`list_images` of a folder that is to be learned or judged; what else is in it is named in a warning."""
    images = list_images(folder)
    left_out = [
        f"{path.name} (a broken link)" if path.is_symlink() and not path.exists() else path.name
        for path in _visible(folder)
        if not path.is_dir() and not _is_image(path)
    ]
    if images and left_out:
        more = f" and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
        text = f"{folder}: left out {len(left_out)} of {len(images) + len(left_out)} files that are no images"
        warnings.warn(f"{text}: {', '.join(left_out[:_NAMED])}{more}", ImageWarning, stacklevel=2)
    return images


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def list_folders(folder: Path) -> list[Path]:
    """The folders in a folder, in natural order."""
    return [path for path in _visible(folder) if path.is_dir()]


def good_folder(parent: Path) -> Path | None:
    """The folder of good images in another, whichever of its usual names it bears; None without one."""
    named = {path.name.lower(): path for path in list_folders(parent) if path.name.lower() in _GOOD_NAMES}
    return next((named[name] for name in _GOOD_NAMES if name in named), None)


def good_samples(folder: Path | None) -> tuple[Sample, ...]:
    return (
        tuple(Sample(path, GOOD, condition=condition(path)) for path in given_images(folder))
        if folder
        else ()
    )


def defect_samples(folder: Path, truths: Sequence[Path]) -> tuple[Sample, ...]:
    """The images of a folder named after its kind of defect; masks are looked for in `truths` in turn."""
    masks = [masks_by_name(truth) for truth in truths]
    images = given_images(folder)
    return tuple(
        Sample(path, DEFECT, mask_of(path, masks), condition=condition(path), kind=folder.name)
        for path in images
    )


def masks_by_name(folder: Path) -> dict[str, Path]:
    """Files by their stem, and folders that hold the masks of one image."""
    folders = {path.name.lower(): path for path in list_folders(folder) if list_images(path)}
    return folders | {path.stem.lower(): path for path in list_images(folder)}


def mask_of(image: Path, masks: Iterable[dict[str, Path]]) -> Path | None:
    """The mask named after an image: <stem>_mask, or just <stem>, with any image suffix."""
    stem = image.stem.lower()
    return next((found for names in masks if (found := names.get(f"{stem}_mask") or names.get(stem))), None)


def condition(path: Path) -> str | None:
    """The lighting condition in a file name of MVTec AD 2's form, such as 003_shift_1.png."""
    match = _CONDITION.fullmatch(path.stem)
    return match[1] if match else None


def split_by_name(paths: Sequence[Path], share: float, seed: int) -> tuple[list[Path], list[Path]]:
    """Split into `share` and the rest by a hash of seed and file name, keeping the order.

    The names alone decide, so the split is the same on every machine and wherever the folder lies.
    """

    def rank(path: Path) -> bytes:
        return hashlib.sha256(f"{seed}/{path.name}".encode(errors="surrogateescape")).digest()

    chosen = set(sorted(paths, key=rank)[: round(share * len(paths))])
    return [path for path in paths if path in chosen], [path for path in paths if path not in chosen]


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key under which 2 comes before 10 and case decides only between equals."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [(int(part), "") if part.isdecimal() and part.isascii() else (-1, part) for part in parts], name


def _visible(folder: Path) -> list[Path]:
    try:
        names = [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    shown = [name for name in names if not name.startswith(".") and name != "__MACOSX"]
    return [folder / name for name in sorted(shown, key=natural_key)]
