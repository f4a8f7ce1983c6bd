"""elpv-dataset: electroluminescence images of solar cells, with how likely each is defective.

Deitsch et al., "Automatic classification of defective photovoltaic module cells in electroluminescence
images", Solar Energy 185 (2019); the PyPI package holds labels.csv beside images/.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from anomalyvfm.data.datasets.folder import TRAIN_SHARE
from anomalyvfm.data.datasets.listing import split_by_name
from anomalyvfm.data.datasets.sample import DEFECT, GOOD, Category, Sample
from anomalyvfm.errors import InputError

LABELS = "labels.csv"
NAMES = ("elpv-mono", "elpv-poly")
"""One category a cell technology: the two look nothing alike."""


def installed_folder() -> Path:
    """Where the package keeps its data, found without importing it."""
    spec = find_spec("elpv_dataset")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "data"
        if is_root(folder):
            return folder
    raise InputError("elpv: its images are not installed; pip install 'anomalyvfm[demo]'")


def is_root(folder: Path) -> bool:
    return (folder / LABELS).is_file() and (folder / "images").is_dir()


def read_category(folder: Path, name: str, seed: int) -> Category:
    """Learn from 70 % of the cells surely functional; test on the others and on those surely defective.

    The experts were not sure of the cells at probability 1/3 and 2/3, which are left out.
    """
    technology = name.removeprefix("elpv-")
    rows = [(path, probability) for path, probability, kind in _rows(folder) if kind == technology]
    functional = [path for path, probability in rows if probability == 0]
    train, held_out = split_by_name(functional, TRAIN_SHARE, seed)
    good = tuple(Sample(path, GOOD) for path in held_out)
    bad = tuple(Sample(path, DEFECT, kind="defective") for path, probability in rows if probability == 1)
    return Category(name, "elpv", train=tuple(Sample(path, GOOD) for path in train), test=good + bad)


def _rows(folder: Path) -> list[tuple[Path, float, str]]:
    """Image path, probability of a defect, and technology, from the columns of labels.csv."""
    labels = folder / LABELS
    rows = []
    for number, line in enumerate(labels.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            image, probability, technology = line.split()
            rows.append((folder / image, float(probability), technology))
        except ValueError as error:
            raise InputError(
                f"{labels}, line {number}: not image, probability and type as in elpv-dataset; reinstall it"
            ) from error
    return rows
