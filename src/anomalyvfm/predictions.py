"""Judge many images and write down what was found: ``predictions.jsonl``, ``maps/``, ``drift.json``."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.data import ImageError, ImageSource, read_many, read_source
from anomalyvfm.data.datasets.listing import list_images
from anomalyvfm.data.reading import SUFFIXES
from anomalyvfm.data.sources import ReadingSettings
from anomalyvfm.drift import DriftTest
from anomalyvfm.errors import InputError
from anomalyvfm.exhibits import draw_with_reasons
from anomalyvfm.files import unwritable
from anomalyvfm.tracking import Tracker, untracked
from anomalyvfm.verdict import Verdict

# In bytes: file systems take 255, and the number and the ending of a partial file need some.
_LONGEST_STEM = 200

Maps = Literal["all", "anomalous", "none"]
"""Of which images a picture is written."""


class JudgeSettings(Protocol):
    @property
    def image(self) -> ReadingSettings: ...


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


def find_images(places: Sequence[Path]) -> list[Path]:
    """Files as named and the images in folders, in the order given. Raises InputError where there are none.

    A file that is missing or no image stays in the list: it gets its line among the predictions.
    """
    found = []
    for place in places:
        found += list_images(place) if place.is_dir() else [place]
    if not found:
        named = ", ".join(map(str, places))
        raise InputError(
            f"{named}: no images there ({' '.join(sorted(SUFFIXES))}); sub-folders are not searched"
        )
    return found


def write_predictions(
    detector: Judge,
    images: Sequence[Path],
    out: Path,
    track: Tracker = untracked,
    drift: DriftTest | None = None,
    maps: Maps = "all",
) -> Tally:
    """Judge ``images`` in order; write a line each to ``predictions.jsonl`` and pictures to ``maps/``.

    The lines grow under the name ``predictions.jsonl.partial``, which becomes ``predictions.jsonl`` when
    complete: a killed run leaves every finished line, and cannot be mistaken for a whole one. The line of an
    image without a picture has null for its map. ``drift`` takes in the scores in the same order; its
    outcome and state end in ``drift.json``.
    """
    folder = out / "maps"
    names = _MapNames()
    tally = Tally()

    def name_of(path: Path, verdict: Verdict | ImageError) -> str | None:
        if (
            isinstance(verdict, ImageError)
            or maps == "none"
            or (maps == "anomalous" and not verdict.anomalous)
        ):
            return None
        return names.unused(path.stem)

    def finish(judged: tuple[Path, Verdict | ImageError, str | None]) -> dict[str, Any]:
        path, verdict, name = judged
        if isinstance(verdict, ImageError):
            return {"path": str(path), "error": str(verdict)}
        if name is None:
            return {"path": str(path), **verdict.as_dict(), "map": None}
        try:
            image = read_source(path, detector.settings.image)
        except ImageError as error:  # gone or changed since it was judged
            return {"path": str(path), "error": str(error)}
        save_picture(draw_with_reasons(image, verdict), folder / name)
        return {"path": str(path), **verdict.as_dict(), "map": f"maps/{name}"}

    judged = (
        (path, verdict, name_of(path, verdict))
        for path, (_, verdict) in zip(images, detector.judge(images), strict=True)
    )
    try:
        (out if maps == "none" else folder).mkdir(parents=True, exist_ok=True)
        for earlier in ("predictions.jsonl", "drift.json"):  # of another run: its pictures give way too
            (out / earlier).unlink(missing_ok=True)
        partial = out / "predictions.jsonl.partial"
        with partial.open("w", encoding="utf-8") as stream:
            # Drawing and encoding run beside the backbone, a bounded number of pictures ahead of the file.
            finished = read_many(judged, finish)
            for (_, verdict, _), line in track(finished, len(images), "judging"):
                assert isinstance(line, dict)
                stream.write(json.dumps(line, allow_nan=False) + "\n")
                tally.images += 1
                tally.errors += "error" in line
                tally.anomalous += line.get("anomalous", False)
                if drift is not None and isinstance(verdict, Verdict) and "error" not in line:
                    drift.add(verdict.score)
            stream.flush()
            os.fsync(stream.fileno())
        if drift is not None:
            tally.drift = drift.summary()
            save_drift(drift, out / "drift.json")
        partial.replace(out / "predictions.jsonl")
    except OSError as error:  # every finished line stays in the partial file
        raise unwritable(out, error) from None
    return tally


def save_picture(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a PNG under a temporary name, then rename it; grey where all colours of (H, W, 3) are."""
    partial = path.with_name(f".{path.name}.partial")
    if picture.ndim == 3 and all(np.array_equal(picture[..., 0], picture[..., other]) for other in (1, 2)):
        picture = picture[..., 0]  # compressed in half the time
    Image.fromarray(picture).save(partial, format="PNG", compress_level=1)
    partial.replace(path)


def save_drift(drift: DriftTest, path: Path) -> None:
    """Write the state of a drift test, from which it goes on, under a temporary name, then rename it."""
    partial = path.with_name(f".{path.name}.partial")
    body = {"says": drift.describe(), **drift.as_dict()}
    partial.write_text(json.dumps(body, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


class _MapNames:
    """File names for pictures: the image's stem, cut to what fits, numbered where taken."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._taken: set[str] = set()

    def unused(self, stem: str) -> str:
        if len(name := os.fsencode(stem)) > _LONGEST_STEM:
            stem = name[:_LONGEST_STEM].decode(errors="ignore")
        unused, count = stem, 1
        while unused.lower() in self._taken:  # file systems that ignore case exist
            self._seen[stem.lower()] = count = max(self._seen[stem.lower()], 1) + 1
            unused = f"{stem}-{count}"
        self._taken.add(unused.lower())
        return f"{unused}.png"
