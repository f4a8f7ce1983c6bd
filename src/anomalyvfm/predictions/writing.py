"""Judge many images and write down what was found: a line each, maps, masks, and whether they drift."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import tifffile
from numpy.typing import NDArray

from anomalyvfm.data import ImageError, ImageSource, read_many, read_source
from anomalyvfm.data.sources import ReadingSettings
from anomalyvfm.data.stores import ImageFile
from anomalyvfm.decision.drift import DriftTest
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.errors import InputError
from anomalyvfm.files import MARKER, empty, mark, marked_run, shortened, unwritable
from anomalyvfm.tracking import Tracker, untracked
from anomalyvfm.visual.panels import draw_sheet
from anomalyvfm.visual.pictures import save_picture

Maps = Literal["all", "anomalous", "none", "raw"]
"""Of which images an overlay is written; raw: the map itself of every image, as float32 TIFF of its size."""

PREDICTIONS, DRIFT, MAPS, MASKS = "predictions.jsonl", "drift.json", "maps", "masks"
PARTIAL = f"{PREDICTIONS}.partial"
TABLES = ("predictions.csv", "coco.json")


class JudgeSettings(Protocol):
    @property
    def image(self) -> ReadingSettings: ...


class Judge(Protocol):
    """A fitted detector or an exported one."""

    @property
    def settings(self) -> JudgeSettings: ...

    @property
    def together(self) -> int:
        """Images judged at once: the last bits of a score may depend on which share a batch."""

    def judge(self, images: Iterable[ImageSource]) -> Iterator[tuple[ImageSource, Verdict | ImageError]]: ...


@dataclass(frozen=True)
class Output:
    """What a run writes, beside a line for each image."""

    drift: DriftTest | None = None
    """Takes in the scores in the images' order; its outcome and state end in ``drift.json``."""
    maps: Maps = "anomalous"
    masks: bool = False
    """Also black and white PNGs of the images' own size, in ``masks/``."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """What else tells the run from others."""
    tables: Sequence[Callable[[Path], None]] = ()
    """What `predictions.tables` has, to be written of the finished lines."""

    def marker(self, images: Sequence[ImageFile]) -> dict[str, Any]:
        """What tells a run from one whose lines or files would be others."""
        listed = hashlib.sha256("\n".join(map(str, images)).encode(errors="surrogateescape")).hexdigest()
        chosen = {"maps": self.maps, "masks": self.masks, "drift": self.drift is not None}
        return {**self.run, "images": listed, **chosen}


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


def write_predictions(
    detector: Judge,
    images: Sequence[ImageFile],
    out: Path,
    output: Output | None = None,
    track: Tracker = untracked,
    resume: bool = False,
) -> Tally:
    """Judge ``images`` in order; write a line each to ``predictions.jsonl`` and pictures to ``maps/``.

    The lines grow under the name ``predictions.jsonl.partial``, which becomes ``predictions.jsonl`` when
    complete: a killed run leaves every finished line, and cannot be mistaken for a whole one. With ``resume``
    such a run is gone on with; the images and the ``output`` must then be the same. Without it, what an
    earlier run wrote to ``out`` gives way. The line of an image without a picture has null for its map.
    """
    output = output or Output()
    tally = Tally()
    files = _Files(out, detector.settings.image, output)
    marker = output.marker(images)

    def judged() -> Iterator[dict[str, Any]]:
        named = (
            (path, verdict, files.name_of(path, verdict))
            for path, (_, verdict) in zip(images[done:], detector.judge(images[done:]), strict=True)
        )
        # Drawing and encoding run beside the backbone, a bounded number of pictures ahead of the file.
        for _, line in read_many(named, files.write):
            assert isinstance(line, dict)
            yield line

    try:
        out.mkdir(parents=True, exist_ok=True)
        done = 0
        for kept in _kept_lines(out, marker, images, detector.together) if resume else _emptied(out):
            files.take(kept)
            tally.add(kept, output.drift)
            done += 1
        lines = track(judged(), len(images) - done, "judging")
        _write_lines(out, lines, tally, output, marker)
    except OSError as error:  # every finished line stays in the partial file
        raise unwritable(out, error) from None
    return tally


def join_predictions(
    parts: Sequence[Path],
    images: Sequence[ImageFile],
    out: Path,
    output: Output,
    track: Tracker = untracked,
) -> Tally:
    """As `write_predictions`, of what it has written of parts of the ``images`` to folders, in their order.

    These stay as they are; files are linked where the file system can, else copied.
    """
    tally = Tally()
    names = _FileNames()

    def moved() -> Iterator[dict[str, Any]]:
        for part in parts:
            with (part / PREDICTIONS).open(encoding="utf-8") as stream:
                for text in stream:
                    line = json.loads(text)
                    written = [key for key in ("map", "mask") if line.get(key)]
                    name = names.unused(Path(line["path"]).stem) if written else ""
                    for key in written:
                        old = part / line[key]
                        line[key] = f"{old.parent.name}/{name}{old.suffix}"
                        _link(old, out / line[key])
                    yield line

    try:
        out.mkdir(parents=True, exist_ok=True)
        _emptied(out)
        _write_lines(out, track(moved(), len(images), "joining"), tally, output, output.marker(images))
    except OSError as error:
        raise unwritable(out, error) from None
    return tally


def _write_lines(
    out: Path,
    lines: Iterable[dict[str, Any]],
    tally: Tally,
    output: Output,
    marker: Mapping[str, Any],
) -> None:
    """Append lines as they come, and finish what is made of them all."""
    drift = output.drift
    mark(out, (PREDICTIONS, PARTIAL, DRIFT, *TABLES, MAPS, MASKS), marker)
    for folder in (MAPS,) * (output.maps != "none") + (MASKS,) * output.masks:
        (out / folder).mkdir(exist_ok=True)
    with (out / PARTIAL).open("a", encoding="utf-8") as stream:
        for line in lines:
            stream.write(json.dumps(line, allow_nan=False) + "\n")
            tally.add(line, drift)
        stream.flush()
        os.fsync(stream.fileno())
    if drift is not None:
        tally.drift = drift.summary()
        save_drift(drift, out / DRIFT)
    (out / PARTIAL).replace(out / PREDICTIONS)
    for write in output.tables:
        write(out)
    mark(out, run=marker)


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # a file system without links, or another one
        shutil.copyfile(old, new)


class _Files:
    """The pictures, maps and masks of a run, each under a name of its own."""

    def __init__(self, out: Path, settings: ReadingSettings, output: Output) -> None:
        self._out = out
        self._settings = settings
        self._maps, self._masks = output.maps, output.masks
        self._names = _FileNames()

    def take(self, line: Mapping[str, Any]) -> None:
        """Remember the name that an earlier run gave to an image's files."""
        self._names.take(line.get("map") or line.get("mask"))

    def name_of(self, path: ImageFile, verdict: Verdict | ImageError) -> str | None:
        """The name of an image's files; None where it gets none. Asked in the order of the images."""
        wanted = not isinstance(verdict, ImageError) and (self._is_drawn(verdict) or self._masks)
        return self._names.unused(path.stem) if wanted else None

    def write(self, judged: tuple[ImageFile, Verdict | ImageError, str | None]) -> dict[str, Any]:
        """Write the files of an image, and return its line."""
        path, verdict, name = judged
        if isinstance(verdict, ImageError):
            return {"path": str(path), "error": str(verdict)}
        files: dict[str, str | None] = {"map": None}
        if self._is_drawn(verdict):
            files["map"] = drawn = f"{MAPS}/{name}.{'tiff' if self._maps == 'raw' else 'jpg'}"
            try:
                self._draw(path, verdict, self._out / drawn)
            except ImageError as error:  # gone or changed since it was judged
                return {"path": str(path), "error": str(error)}
        if self._masks:
            files["mask"] = mask = f"{MASKS}/{name}.png"
            save_picture(verdict.mask.astype(np.uint8) * np.uint8(255), self._out / mask)
        return {"path": str(path), **verdict.as_dict(), **files}

    def _draw(self, path: ImageFile, verdict: Verdict, place: Path) -> None:
        if self._maps == "raw":
            save_map(verdict.map, place)
        else:
            save_picture(draw_sheet(read_source(path, self._settings), verdict), place)

    def _is_drawn(self, verdict: Verdict) -> bool:
        return self._maps in ("all", "raw") or (self._maps == "anomalous" and verdict.anomalous)


def _emptied(out: Path) -> tuple[dict[str, Any], ...]:
    """Nothing of what an earlier run has left."""
    empty(out)
    for earlier in (PREDICTIONS, DRIFT):  # of a run that left no marker
        (out / earlier).unlink(missing_ok=True)
    return ()


def state_of(out: Path, marker: Mapping[str, Any]) -> Literal["begun", "finished"] | None:
    """How far a run has come in ``out``; None where that is not there, or empty.

    Raises InputError where it holds anything but this run.
    """
    if not out.is_dir() or not any(entry.name != MARKER for entry in out.iterdir()):
        return None
    finished = (out / PREDICTIONS).exists()
    if not finished and not (out / PARTIAL).exists():
        raise InputError(f"{out}: holds no run to go on with; choose another --out")
    if marked_run(out) != marker:
        raise InputError(
            f"{out}: holds a run of another model, of other images or with other options;"
            " choose another --out, or --overwrite in place of --resume"
        )
    return "finished" if finished else "begun"


def _kept_lines(
    out: Path, marker: Mapping[str, Any], images: Sequence[ImageFile], batch: int
) -> Iterator[dict[str, Any]]:
    """The finished lines of an interrupted run, of whole batches; what follows in the file is cut off.

    Raises InputError where ``out`` holds anything but this run, and nothing where it holds nothing.
    """
    if (state := state_of(out, marker)) is None:
        return
    if state == "finished":  # nothing is left to do but to count
        (out / PREDICTIONS).replace(out / PARTIAL)
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
        stem = shortened(stem)
        unused, count = stem, 1
        while unused.lower() in self._taken:  # file systems that ignore case exist
            self._seen[stem.lower()] = count = max(self._seen[stem.lower()], 1) + 1
            unused = f"{stem}-{count}"
        self._taken.add(unused.lower())
        return unused
