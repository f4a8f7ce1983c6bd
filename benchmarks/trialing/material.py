"""The images trials run on: which there are, which a seed learns, and their labels and masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.data import open_dataset
from anomalyvfm.data.generated import CATEGORIES, CONDITIONS, DEFECTS, draw_bad, draw_good

GENERATED_TRAIN, GENERATED_LEARNED, GENERATED_TEST = 80, 60, 20
ELPV = ("elpv-mono", "elpv-poly")


@dataclass(frozen=True)
class Material:
    """All images of one category, numbered; every array runs over them.

    ``trainable`` marks those a seed may choose to learn from, ``tested`` those it judges, ``label`` is 1 for
    a defect, ``condition`` is the lighting ("regular" where the data knows none), ``masks`` the defects' mask
    files. elpv has no split of its own: there a seed chooses among all good images.
    """

    name: str
    paths: list[Path]
    trainable: NDArray[np.bool_]
    tested: NDArray[np.bool_]
    label: NDArray[np.int64]
    condition: NDArray[np.str_]
    masks: list[Path | None]

    def split(self, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of the images to learn from and to test on, as `benchmarks/accuracy.py` takes them."""
        if self.name in ELPV:
            # The data's own split draws by name and seed: what is good and not learned is tested.
            learned_paths = {sample.path for sample in open_dataset(self.name, seed=seed).train}
            learned = np.array([path in learned_paths for path in self.paths])
            return np.flatnonzero(learned), np.flatnonzero(~learned)
        candidates = np.flatnonzero(self.trainable)
        count = GENERATED_LEARNED if self.name in CATEGORIES else int(0.9 * len(candidates))
        chosen = np.random.default_rng(seed).permutation(len(candidates))[:count]
        return candidates[np.sort(chosen)], np.flatnonzero(self.tested)


def material(name: str, magnetic_tile: Path, cache: Path) -> Material:
    """The category of that name: mt, elpv-mono, elpv-poly, or a generated one (drawn to the cache once)."""
    if name in CATEGORIES:
        return _generated(name, cache / "generated" / name)
    dataset = open_dataset(magnetic_tile if name == "mt" else name, seed=0)
    samples = [*dataset.train, *dataset.test]
    trained = len(dataset.train)
    return Material(
        name,
        [sample.path for sample in samples],
        np.arange(len(samples)) < trained,
        np.arange(len(samples)) >= trained,
        np.array([int(bool(sample.label)) for sample in samples]),
        np.array(["regular"] * len(samples)),
        [sample.mask for sample in samples],
    )


def _generated(name: str, folder: Path) -> Material:
    shots = [(f"train_{i:03d}", i, "regular", False) for i in range(GENERATED_TRAIN)]
    for i in range(GENERATED_TRAIN, GENERATED_TRAIN + GENERATED_TEST):
        for condition in CONDITIONS:
            shots += [(f"test_{i:03d}_{condition}", i, condition, False)]
            # Other products than the good ones: an image and its spoilt twin would be no two observations.
            shots += [(f"bad_{i:03d}_{condition}", i + GENERATED_TEST, condition, True)]
    folder.mkdir(parents=True, exist_ok=True)
    kinds = DEFECTS[name]
    for stem, number, condition, bad in shots:
        path = folder / f"{stem}.png"
        if path.exists():
            continue
        rng = np.random.default_rng([CATEGORIES.index(name), number])
        if bad:
            pixels, mask, _ = draw_bad(name, 256, rng, condition, kinds[number % len(kinds)])
            Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(folder / f"{stem}_mask.png")
        else:
            pixels = draw_good(name, 256, rng, condition)
        Image.fromarray(pixels).save(path, compress_level=1)
    train = np.array([stem.startswith("train") for stem, *_ in shots])
    return Material(
        name,
        [folder / f"{stem}.png" for stem, *_ in shots],
        train,
        ~train,
        np.array([int(bad) for *_, bad in shots]),
        np.array([condition for _, _, condition, _ in shots]),
        [folder / f"{stem}_mask.png" if bad else None for stem, _, _, bad in shots],
    )
