"""The data sets that accuracy is measured on, and what a seed learns of each."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from anomalyvfm.data import Category, open_dataset
from anomalyvfm.data.generated import CATEGORIES, generate

ELPV = ("elpv-mono", "elpv-poly")
FOLDERS = ("pcb", "magnetic_tile", "cookies")
"""Of `--shared`."""
REAL = (*FOLDERS, *ELPV)
SHARED = Path("../shared/data")
CACHE = Path.home() / ".cache" / "anomalyvfm-benchmarks"
_FEW = 50
GENERATED_IMAGES = 200  # to learn; as many are tested, half of them good


def names(listed: str) -> list[str]:
    """Data sets by name, comma-separated; `real` and `generated` stand for all of either kind."""
    groups = {"real": REAL, "generated": CATEGORIES}
    return [name for part in listed.split(",") for name in groups.get(part, (part,))]


def open_whole(name: str, shared: Path = SHARED, cache: Path = CACHE) -> Category:
    """A data set as it comes. Generated ones are drawn once, and tested in regular light alone."""
    if name in ELPV:
        return open_dataset(name, seed=0)
    if name not in CATEGORIES:
        return open_dataset(shared / name)
    folder = cache / f"generated-{GENERATED_IMAGES}" / name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{name}-") as partial:
            generate(Path(partial), [name], images=GENERATED_IMAGES, size=256)
            if not folder.exists():  # another run may have drawn it meanwhile
                (Path(partial) / name).rename(folder)
    drawn = open_dataset(folder)
    return replace(drawn, test=tuple(sample for sample in drawn.test if sample.condition == "regular"))


def open_split(name: str, seed: int, shared: Path = SHARED, cache: Path = CACHE) -> Category:
    """With the good images that a seed learns: a random 90 %; of elpv 70 %, and the rest is tested.

    Of a data set of few images all are learned, and seeds differ in what models draw by them.
    """
    if name in ELPV:
        return open_dataset(name, seed=seed)
    whole = open_whole(name, shared, cache)
    if len(whole.train) < _FEW:
        return whole
    kept = np.random.default_rng(seed).permutation(len(whole.train))[: int(0.9 * len(whole.train))]
    return replace(whole, train=tuple(whole.train[i] for i in sorted(kept)))
