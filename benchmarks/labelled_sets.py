"""What the benchmarks of images that nobody has looked at have in common: which sets, and their labels."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from anomalyvfm.data import Category, open_dataset
from anomalyvfm.data.datasets.sample import Sample

_DATA = Path("../shared/data")
_SETS = "magnetic_tile,pcb,cookies,elpv-mono"


def arguments(description: str | None, draws: int) -> argparse.Namespace:
    """``sets``, their names; how many ``draws``; and the ``backbone``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=lambda text: text.split(","), default=_SETS)
    parser.add_argument("--draws", type=int, default=draws)
    parser.add_argument("--backbone", default="efficientnet-lite0")
    return parser.parse_args()


def opened(name: str) -> Category:
    return open_dataset(name if name.startswith("elpv") else _DATA / name)


def paths(samples: Iterable[Sample], label: int) -> list[Path]:
    return [sample.path for sample in samples if sample.label == label]
