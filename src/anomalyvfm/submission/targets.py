"""Which files a submission holds: a map and a mask for every image of the private splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from anomalyvfm.data import list_categories, open_dataset
from anomalyvfm.errors import InputError

MAPS: Final = "anomaly_images"
MASKS: Final = "anomaly_images_thresholded"

CONDITIONS: Final = {"test_private": "regular", "test_private_mixed": "mixed"}
"""The private splits, and what the file names in each end with."""

COUNTS: Final = {
    "can": 321,
    "fabric": 314,
    "fruit_jelly": 255,
    "rice": 277,
    "sheet_metal": 142,
    "vial": 276,
    "wallplugs": 232,
    "walnuts": 228,
}
"""Images of each category in each of the two private splits of MVTec AD 2."""


@dataclass(frozen=True)
class Target:
    """One image whose map and mask a submission must hold; ``image`` is None where only names are known."""

    category: str
    split: str
    stem: str
    image: Path | None = None

    @property
    def map(self) -> str:
        """Path of the float16 TIFF inside the submission."""
        return f"{MAPS}/{self.category}/{self.split}/{self.stem}.tiff"

    @property
    def mask(self) -> str:
        """Path of the thresholded PNG inside the submission."""
        return f"{MASKS}/{self.category}/{self.split}/{self.stem}.png"


def benchmark_targets(categories: Sequence[str] | None = None) -> list[Target]:
    """What the benchmark asks for: 2,045 images in each split of eight categories, numbered from 000."""
    return [
        Target(category, split, f"{number:03}_{condition}")
        for category in _choose(list(COUNTS), categories, "MVTec AD 2")
        for split, condition in CONDITIONS.items()
        for number in range(COUNTS[category])
    ]


def data_targets(data: Path, categories: Sequence[str] | None = None) -> list[Target]:
    """The images in the private splits of a data set's root, or of one category folder.

    Raises InputError where a category lacks one of the splits or two images would share a map.
    """
    targets = []
    for category in _choose(list_categories(data), categories, str(data)):
        private = open_dataset(data, category).private
        for split in CONDITIONS:
            samples = private.get(split, ())
            if not samples:
                raise InputError(
                    f"{data}: no images in {split}/ of {category}; a submission takes both"
                    f" {' and '.join(CONDITIONS)} (as in MVTec AD 2)"
                )
            by_stem: dict[str, Path] = {}
            for path in (sample.path for sample in samples):
                if path.stem in by_stem:
                    raise InputError(f"{path}: would share a map with {by_stem[path.stem].name}; rename one")
                by_stem[path.stem] = path
            targets += [Target(category, split, stem, path) for stem, path in by_stem.items()]
    return targets


def _choose(available: Sequence[str], wanted: Sequence[str] | None, where: str) -> list[str]:
    for name in wanted or ():
        if name not in available:
            close = get_close_matches(name.lower(), available, n=1)
            hint = f"did you mean {close[0]}?" if close else "choose among those"
            raise InputError(f"{where}: no category '{name}' (found {', '.join(available)}); {hint}")
    return [name for name in available if wanted is None or name in wanted]
