"""Judge many images and write down what was found: a line each, maps, masks, and whether they drift."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import tifffile
from numpy.typing import NDArray

from anomalyvfm.data import ImageError, ImageSource, read_many, read_source
from anomalyvfm.data.datasets.listing import TRUTH, given_images, list_folders, natural_key
from anomalyvfm.data.reading import SUFFIXES
from anomalyvfm.data.sources import ReadingSettings
from anomalyvfm.decision.drift import DriftTest
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.errors import ImageWarning, InputError
from anomalyvfm.files import MARKER, empty, mark, marked_run, unwritable
from anomalyvfm.tracking import Tracker, untracked
from anomalyvfm.visual.panels import draw_sheet
from anomalyvfm.visual.pictures import save_picture

# In bytes: file systems take 255, and the number and the ending of a partial file need some.
_LONGEST_STEM = 200

Maps = Literal["all", "anomalous", "none", "raw"]
"""Of which images an overlay is written; raw: the map itself of every image, as float32 TIFF of its size."""

PREDICTIONS, DRIFT, MAPS, MASKS = "predictions.jsonl", "drift.json", "maps", "masks"
PARTIAL = f"{PREDICTIONS}.partial"
TABLES = ("predictions.csv", "coco.json")


class JudgeSettings(Protocol):
    @property
    def image(self) -> ReadingSettings: ...

    @property
    def batch(self) -> int:
        """Images judged at once: the last bits of a score may depend on which share a batch."""


class Judge(Protocol):
    """A fitted detector or an exported one."""

    @property
    def settings(self) -> JudgeSettings: ...

    def judge(self, images: Iterable[ImageSource]) -> Iterator[tuple[ImageSource, Verdict | ImageError]]: ...


@dataclass
class Tally:
    """What a run found."""

    images: int = 0
    anomalous: int = 0
    errors: int = 0
    drift: dict[str, Any] | None = None
    """The drift test's outcome, where one was asked for."""

    def add(self, line: Mapping[str, Any], drift: DriftTest | None) -> None:
        """Count a line of ``predictions.jsonl``, and have the drift test see its score."""
        self.images += 1
        self.errors += "error" in line
        self.anomalous += line.get("anomalous", False)
        if drift is not None and "error" not in line:
            drift.add(line["score"])


def find_images(places: Sequence[Path], recursive: bool = False) -> list[Path]:
    """Files as named and the images in folders, in the order given. Raises InputError where there are none.

    Of a folder that holds images, those below it are left out unless ``recursive``, and counted in a warning;
    one that holds only folders is searched. A name with ``*``, ``?`` or ``[`` that is no file stands for all
    it matches, and a text file for the images it lists, a path a line. A file that is missing or no image
    stays in the list: it gets its line among the predictions.
    """
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            found += _in_folder(place, recursive)
        elif place.suffix.lower() == ".txt" and place.is_file():
            found += _listed(place)
        elif set("*?[").intersection(str(place)) and not place.exists():
            matched = glob.glob(str(place), recursive=True)  # noqa: PTH207  # Path's takes no absolute pattern
            paths = [Path(name) for name in sorted(matched, key=natural_key)]
            found += find_images(paths, recursive) if paths else [place]
        else:
            found.append(place)
    if not found:
        named = ", ".join(map(str, places))
        raise InputError(
            f"{named}: no images there ({' '.join(sorted(SUFFIXES))}); name a folder or files of images"
        )
    return found


def share_out(images: Sequence[Path], models: Mapping[str, Path]) -> dict[str, list[Path]]:
    """Images by the name of the model that judges them: that of the innermost folder with a model's name.

    Those in no such folder are left out, and counted in a warning. Raises InputError where all are.
    """
    shares: dict[str, list[Path]] = {}
    left_out = []
    for image in images:
        name = next((part for part in reversed(image.absolute().parts[:-1]) if part in models), None)
        if name is None:
            left_out.append(image)
        else:
            shares.setdefault(name, []).append(image)
    if left_out:
        text = (
            f"{len(left_out)} of {len(images)} images lie in no folder named like a model"
            f" ({', '.join(models)}), the first is {left_out[0]}"
        )
        if not shares:
            raise InputError(f"{text}; name one of the models")
        warnings.warn(f"{text}; they are left out", ImageWarning, stacklevel=2)
    return shares


def _in_folder(folder: Path, recursive: bool) -> list[Path]:
    images = given_images(folder)
    below = [
        path
        for child in list_folders(folder)
        if child.name != TRUTH and not child.is_symlink()
        for path in _in_folder(child, recursive=True)
    ]
    if recursive or not images:
        return images + below
    if below:
        text = f"{folder}: {len(below)} images in its sub-folders are left out; --recursive takes them too"
        warnings.warn(text, ImageWarning, stacklevel=2)
    return images


def _listed(place: Path) -> list[Path]:
    """The paths in a text file, where they are not absolute below its folder or where we are."""
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{place}: no list of images, a path a line ({error})") from None
    paths = [Path(line.strip()) for line in lines if line.strip() and not line.startswith("#")]
    return [path if path.exists() else place.parent / path for path in paths]


def write_predictions(
    detector: Judge,
    images: Sequence[Path],
    out: Path,
    track: Tracker = untracked,
    drift: DriftTest | None = None,
    maps: Maps = "all",
    masks: bool = False,
    resume: bool = False,
    run: Mapping[str, Any] | None = None,
    tables: Sequence[Callable[[Path], None]] = (),
) -> Tally:
    """Judge ``images`` in order; write a line each to ``predictions.jsonl`` and pictures to ``maps/``.

    The lines grow under the name ``predictions.jsonl.partial``, which becomes ``predictions.jsonl`` when
    complete: a killed run leaves every finished line, and cannot be mistaken for a whole one. With ``resume``
    such a run is gone on with; the images, what is written of them, and what else ``run`` says must then be
    the same. Without it, what an earlier run wrote to ``out`` gives way. The line of an image without a
    picture has null for its map. ``masks`` also writes black and white PNGs of the images' own size to
    ``masks/``. ``drift`` takes in the scores in the same order; its outcome and state end in ``drift.json``.
    ``tables`` are written of the finished lines, by what `prediction_tables` has.
    """
    names = _FileNames()
    tally = Tally()
    listed = hashlib.sha256("\n".join(map(str, images)).encode(errors="surrogateescape")).hexdigest()
    run = {**(run or {}), "images": listed, "maps": maps, "masks": masks, "drift": drift is not None}

    def name_of(path: Path, verdict: Verdict | ImageError) -> str | None:
        if isinstance(verdict, ImageError):
            return None
        shown = maps in ("all", "raw") or (maps == "anomalous" and verdict.anomalous)
        return names.unused(path.stem) if shown or masks else None

    def finish(judged: tuple[Path, Verdict | ImageError, str | None]) -> dict[str, Any]:
        path, verdict, name = judged
        if isinstance(verdict, ImageError):
            return {"path": str(path), "error": str(verdict)}
        try:
            written = _write_files(out, name, path, verdict, detector.settings.image, maps, masks)
        except ImageError as error:  # gone or changed since it was judged
            return {"path": str(path), "error": str(error)}
        return {"path": str(path), **verdict.as_dict(), **written}

    try:
        out.mkdir(parents=True, exist_ok=True)
        if resume:
            done = 0
            for kept in _kept_lines(out, run, images, detector.settings.batch):
                names.take(kept.get("map") or kept.get("mask"))
                tally.add(kept, drift)
                done += 1
            images = images[done:]
        else:
            empty(out)
            for earlier in (PREDICTIONS, DRIFT):  # of a run that left no marker
                (out / earlier).unlink(missing_ok=True)
        mark(out, (PREDICTIONS, PARTIAL, DRIFT, *TABLES, MAPS, MASKS), run)
        for folder in (MAPS,) * (maps != "none") + (MASKS,) * masks:
            (out / folder).mkdir(exist_ok=True)
        judged = (
            (path, verdict, name_of(path, verdict))
            for path, (_, verdict) in zip(images, detector.judge(images), strict=True)
        )
        with (out / PARTIAL).open("a", encoding="utf-8") as stream:
            # Drawing and encoding run beside the backbone, a bounded number of pictures ahead of the file.
            finished = read_many(judged, finish)
            for _, line in track(finished, len(images), "judging"):
                assert isinstance(line, dict)
                stream.write(json.dumps(line, allow_nan=False) + "\n")
                tally.add(line, drift)
            stream.flush()
            os.fsync(stream.fileno())
        if drift is not None:
            tally.drift = drift.summary()
            save_drift(drift, out / DRIFT)
        (out / PARTIAL).replace(out / PREDICTIONS)
        for write in tables:
            write(out)
        mark(out, run=run)
    except OSError as error:  # every finished line stays in the partial file
        raise unwritable(out, error) from None
    return tally


def _write_files(
    out: Path,
    name: str | None,
    path: Path,
    verdict: Verdict,
    settings: ReadingSettings,
    maps: Maps,
    masks: bool,
) -> dict[str, str | None]:
    """Write the picture, map and mask that were asked for; what the image's line says of them."""
    written: dict[str, str | None] = {"map": None}
    if name is not None and maps == "raw":
        written["map"] = f"{MAPS}/{name}.tiff"
        save_map(verdict.map, out / MAPS / f"{name}.tiff")
    elif name is not None and (maps == "all" or (maps == "anomalous" and verdict.anomalous)):
        written["map"] = f"{MAPS}/{name}.png"
        save_picture(draw_sheet(read_source(path, settings), verdict), out / MAPS / f"{name}.png")
    if masks:
        written["mask"] = f"{MASKS}/{name}.png"
        save_picture(verdict.mask.astype(np.uint8) * np.uint8(255), out / MASKS / f"{name}.png")
    return written


def _kept_lines(
    out: Path, run: Mapping[str, Any], images: Sequence[Path], batch: int
) -> Iterator[dict[str, Any]]:
    """The finished lines of an interrupted run, of whole batches; what follows in the file is cut off.

    Raises InputError where ``out`` holds anything but this run, and nothing where it holds nothing.
    """
    finished = out / PREDICTIONS
    if finished.exists() or (out / PARTIAL).exists():
        if marked_run(out) != run:
            raise InputError(
                f"{out}: holds a run of another model, of other images or with other options;"
                " choose another --out, or --overwrite in place of --resume"
            )
        if finished.exists():  # it came to its end: nothing is left to do but to count
            finished.replace(out / PARTIAL)
    elif any(entry.name != MARKER for entry in out.iterdir()):
        raise InputError(f"{out}: holds no run to go on with; choose another --out")
    else:
        return
    with (out / PARTIAL).open("rb+") as stream:
        whole = sum(line.endswith(b"\n") for line in stream)
        kept = whole if whole == len(images) else whole - whole % batch
        stream.seek(0)
        for number in range(kept):
            line = json.loads(stream.readline())
            if number >= len(images) or line["path"] != str(images[number]):
                raise InputError(f"{out / PARTIAL}: changed since it was written; add --overwrite")
            yield line
        stream.truncate(stream.tell())


def save_map(values: NDArray[np.float32], path: Path) -> None:
    """Write a map (H, W) as a float32 TIFF under a temporary name, then rename it."""
    partial = path.with_name(f".{path.name}.partial")
    tifffile.imwrite(partial, values, photometric="minisblack", metadata=None, software=False)
    partial.replace(path)


def save_drift(drift: DriftTest, path: Path) -> None:
    """Write the state of a drift test, from which it goes on, under a temporary name, then rename it."""
    partial = path.with_name(f".{path.name}.partial")
    body = {"says": drift.describe(), **drift.as_dict()}
    partial.write_text(json.dumps(body, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


class _FileNames:
    """Names for files of images: the image's stem, cut to what fits, numbered where taken."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._taken: set[str] = set()

    def take(self, written: str | None) -> None:
        """Remember a file of an earlier run, so that no other gets its name."""
        if written is not None:
            self._taken.add(Path(written).stem.lower())

    def unused(self, stem: str) -> str:
        if len(name := os.fsencode(stem)) > _LONGEST_STEM:
            stem = name[:_LONGEST_STEM].decode(errors="ignore")
        unused, count = stem, 1
        while unused.lower() in self._taken:  # file systems that ignore case exist
            self._seen[stem.lower()] = count = max(self._seen[stem.lower()], 1) + 1
            unused = f"{stem}-{count}"
        self._taken.add(unused.lower())
        return unused
