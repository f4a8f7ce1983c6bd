"""What confirmed defects bring: `make bench-defects`.

    python benchmarks/confirmed_defects.py [--sets magnetic_tile,pcb] [--draws 3] [--unseen]

So many parts are drawn by the seed from a set's defective test images, and one image of each is confirmed,
with its mask. A draw's 20 parts, in all images of them, are in no test, however many are confirmed. With
--unseen, of each kind of defect of magnetic_tile: 15 parts of the other kinds are confirmed, and images of
this kind and the good ones are judged. Rows are kept in runs/confirmed_defects/ as they are measured.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from anomalyvfm.data import Category, Sample, open_dataset
from anomalyvfm.data.defects import Defect
from anomalyvfm.detector import Detector
from anomalyvfm.evaluation.evaluate import evaluate
from kept_rows import keep, kept, key, measured_sources

_DATA = Path("../shared/data")
_KEPT = Path("runs/confirmed_defects")
_COUNTS = (0, 5, 10, 20)
_UNSEEN = 15
_METRICS = ("image_auroc", "aupro_0.05", "pixel_ap", "seg_f1", "detection_rate", "false_alarm_rate")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", default="magnetic_tile,pcb")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--unseen", action="store_true", help="also on kinds that were not confirmed")
    parser.add_argument("--backbone", default="efficientnet-lite0")
    given = parser.parse_args()
    print(
        "| set | confirmed | image AUROC | AU-PRO 0.05 | pixel AP | F1 of outlines | found | false alarms |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in given.sets.split(","):
        category = open_dataset(_DATA / name)
        for count in _COUNTS:
            rows = []
            for draw in range(given.draws):
                parts = _drawn([s for s in category.test if s.label], draw)[: max(_COUNTS)]
                tested = [sample for sample in category.test if _part(sample) not in parts]
                rows.append(_row(category, _confirmed(category, parts[:count], draw), tested, given.backbone))
            print(_line(name, str(count), rows), flush=True)
    if given.unseen:
        _print_unseen(given.draws, given.backbone)


def _print_unseen(draws: int, backbone: str) -> None:
    category = open_dataset(_DATA / "magnetic_tile")
    for kind in sorted({_kind(sample) for sample in category.test if sample.label}):
        tested = [sample for sample in category.test if not sample.label or _kind(sample) == kind]
        others = [sample for sample in category.test if sample.label and _kind(sample) != kind]
        for count in (0, _UNSEEN):
            rows = [
                _row(category, _confirmed(category, _drawn(others, draw)[:count], draw), tested, backbone)
                for draw in range(draws)
            ]
            print(_line(f"magnetic_tile, {kind} unseen", str(count), rows), flush=True)


def _row(
    category: Category, confirmed: Sequence[Sample], tested: Sequence[Sample], backbone: str
) -> dict[str, Any]:
    about = ("confirmed defects", backbone, [str(sample.path) for sample in confirmed])
    file = _KEPT / f"{key(about, measured_sources(), [*category.train, *category.validation, *tested])}.json"
    if not file.exists():
        detector = _fitted(str(_DATA / category.name), backbone).clone()
        if confirmed:
            detector.confirm([Defect(sample.path, sample.mask) for sample in confirmed])
        metrics = evaluate(detector, replace(category, test=tuple(tested))).metrics
        told = detector.describe().get("defects", {})
        keep(file, {"metrics": metrics, "log_prior": told.get("log_prior")})
        print(f"{category.name} {len(confirmed)}: {metrics['image_auroc']:.4f}", file=sys.stderr)
    return kept(file)


@cache
def _fitted(folder: str, backbone: str) -> Detector:
    """On the good images alone, once: defects are confirmed afterwards."""
    return Detector("v2", {"backbone": backbone}).fit(open_dataset(Path(folder)))


def _line(name: str, count: str, rows: Sequence[dict[str, Any]]) -> str:
    values = [_shown([row["metrics"][metric] for row in rows]) for metric in _METRICS]
    return f"| {name} | {count} | {' | '.join(values)} |"


def _shown(values: Sequence[float | None]) -> str:
    """Mean and range; nothing where the set has no masks."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{mean(known):.3f} ({min(known):.3f} to {max(known):.3f})"


def _drawn(defective: Sequence[Sample], draw: int) -> list[str]:
    parts = sorted({_part(sample) for sample in defective})
    return [parts[i] for i in np.random.default_rng(draw).permutation(len(parts))]


def _confirmed(category: Category, parts: Sequence[str], draw: int) -> list[Sample]:
    """One image of each of the parts."""
    rng = np.random.default_rng([draw, 1])
    images = {part: [s for s in category.test if s.label and _part(s) == part] for part in parts}
    return [own[rng.integers(len(own))] for own in images.values()]


def _part(sample: Sample) -> str:
    """What is photographed: magnetic_tile has each tile in up to six exposures."""
    return re.sub(r"_exp\d", "", sample.path.stem)


def _kind(sample: Sample) -> str:
    return sample.path.stem.split("_")[0]


if __name__ == "__main__":
    main()
