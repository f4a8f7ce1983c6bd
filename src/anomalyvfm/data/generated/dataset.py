"""A whole generated dataset on disk, in the layout of MVTec AD 2."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from anomalyvfm.data.datasets.mvtec import GENERATED
from anomalyvfm.data.generated.draw import (
    CATEGORIES,
    DEFECTS,
    check_category,
    check_size,
    draw_bad,
    draw_good,
)
from anomalyvfm.errors import InputError
from anomalyvfm.version import __version__

CONDITIONS = ("regular", "overexposed", "underexposed", "shift_1", "shift_2")


@dataclass(frozen=True)
class _Shot:
    """One image to draw. Its content depends on nothing but these fields, the size and the seed."""

    category: str
    split: str
    index: int  # of the product within its split
    condition: str
    bad: bool

    @property
    def path(self) -> Path:
        return Path(self.category, self.split, f"{self.index:03d}_{self.condition}.png")

    @property
    def mask_path(self) -> Path | None:
        """Where the mask goes; None where there is none, or where it would give the label away."""
        if not self.split.endswith("/bad"):
            return None
        name = f"{self.index:03d}_{self.condition}_mask.png"
        return Path(self.category, "test_public", "ground_truth", "bad", name)


def generate(
    out: Path,
    categories: Sequence[str] = CATEGORIES,
    images: int = 60,
    size: int = 256,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, int]:
    """Write a dataset below `out` and return how many files each category got.

    A category holds `images` training images, a fifth as many to validate, half as many good and half as
    many bad test images, and a few unlabelled ones. As in MVTec AD 2, each test product is photographed
    in all five conditions, under one number: the conditions can be compared product by product. Defect
    kinds take turns. More images extend a dataset: those of a smaller one stay the same, byte by byte.

    `progress`, if given, is called with each file's path relative to `out`. Raises InputError if `out`
    is not an empty or new folder, a category is unknown, or a number is out of range.
    """
    for category in categories:
        check_category(category)
    check_size(size)
    if images < 1:
        raise InputError(f"cannot generate {images} images a category: ask for at least 1")
    if seed < 0:
        raise InputError(f"seed {seed} is negative: use 0 or more")
    _claim(out)
    counts: dict[str, int] = {}
    # numpy and the PNG encoder release the interpreter lock for most of the work, so threads pay
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for category in dict.fromkeys(categories):
            shots = list(_shots(category, images))
            mark = _mark(out / category, size, seed)
            counts[category] = 1
            if progress is not None:
                progress(str(mark.relative_to(out)))
            for written in pool.map(lambda shot: _write(out, shot, size, seed), shots):
                counts[category] += len(written)
                for path in written:
                    if progress is not None:
                        progress(str(path))
    return counts


def _shots(category: str, images: int) -> Iterator[_Shot]:
    for index in range(images):
        yield _Shot(category, "train/good", index, "regular", bad=False)
    for index in range(max(4, images // 5)):
        yield _Shot(category, "validation/good", index, "regular", bad=False)
    for index in range(max(1, images // 2 // len(CONDITIONS))):
        for condition in CONDITIONS:
            yield _Shot(category, "test_public/good", index, condition, bad=False)
            yield _Shot(category, "test_public/bad", index, condition, bad=True)
    for index in range(max(4, images // 10)):
        yield _Shot(category, "test_private", index, "regular", bad=index % 2 == 1)
        yield _Shot(category, "test_private_mixed", index, "mixed", bad=index % 2 == 1)


def _write(out: Path, shot: _Shot, size: int, seed: int) -> list[Path]:
    """Draw a shot and write its files; returns their paths relative to `out`."""
    names = [zlib.crc32(name.encode()) for name in (shot.category, shot.split)]
    rng = np.random.default_rng([seed, *names, shot.index])
    if not shot.bad:
        _save(out / shot.path, draw_good(shot.category, size, rng, shot.condition))
        return [shot.path]
    kinds = DEFECTS[shot.category]
    image, mask, _ = draw_bad(shot.category, size, rng, shot.condition, kinds[shot.index % len(kinds)])
    _save(out / shot.path, image)
    if shot.mask_path is None:
        return [shot.path]
    _save(out / shot.mask_path, mask.astype(np.uint8) * np.uint8(255))
    return [shot.path, shot.mask_path]


def _save(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    # noise hardly compresses: a higher level costs time and saves little
    Image.fromarray(pixels).save(unfinished, format="PNG", compress_level=3)
    unfinished.replace(path)


def _mark(folder: Path, size: int, seed: int) -> Path:
    """Say in the folder itself that these are drawings, whatever the category's name and wherever it goes."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {"generated_by": f"anomalyvfm {__version__}", "size": size, "seed": seed}
    path = folder / GENERATED
    path.write_text(json.dumps(drawn) + "\n", encoding="utf-8")
    return path


def _claim(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        occupied = next(out.iterdir(), None)
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}; choose another folder") from error
    if occupied is not None:
        raise InputError(f"{out} is not empty (it holds {occupied.name}): choose a new folder or empty it")
