"""What confirmed defects bring: `make bench-defects`.

    python benchmarks/confirmed_defects.py [--sets magnetic_tile,pcb] [--draws 3] [--unseen]

So many parts are drawn by the seed from a set's defective test images, and one image of each is confirmed,
with its mask. A draw's 20 parts, in all images of them, are in no test, however many are confirmed. With
--unseen, of each kind of defect of magnetic_tile and of the generated products (`anomalyvfm generate`): 15
parts of the other kinds are confirmed, and images of this kind and the good ones are judged. A model is
fitted once, on good images alone. Rows are kept in runs/confirmed_defects/ as they are measured.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from anomalyvfm.data import Sample, open_dataset
from anomalyvfm.data.defects import Defect
from anomalyvfm.data.generated import CONDITIONS, DEFECTS, generate
from anomalyvfm.detector import Detector
from anomalyvfm.evaluation.evaluate import evaluate
from kept_rows import keep, kept, key, measured_sources

_DATA = Path("../shared/data")
_KEPT = Path("runs/confirmed_defects")
_DRAWN = Path("runs/generated_defects")
_CONDITION = re.compile(rf"_(exp\d|{'|'.join(CONDITIONS)})")
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
    for name in filter(None, given.sets.split(",")):
        test = open_dataset(_DATA / name).test
        defective = [sample for sample in test if sample.label]
        for count in _COUNTS:
            rows = []
            for draw in range(given.draws):
                parts = _drawn(defective, draw)[: max(_COUNTS)]
                tested = [sample for sample in test if _part(sample) not in parts]
                confirmed = _confirmed(defective, parts[:count], draw)
                rows.append(_row(_DATA / name, confirmed, tested, given.backbone))
            print(_line(name, str(count), rows), flush=True)
    if given.unseen:
        _print_unseen(given.draws, given.backbone)


def _print_unseen(draws: int, backbone: str) -> None:
    """Of each set with kinds of defect: magnetic_tile, and those that are drawn."""
    if not _DRAWN.exists():
        partial = _DRAWN.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        generate(partial, images=200)
        partial.rename(_DRAWN)
    for folder in (_DATA / "magnetic_tile", *sorted(_DRAWN.iterdir())):
        test = open_dataset(folder).test
        for kind in sorted({_kind(sample, folder.name) for sample in test if sample.label}):
            tested = [s for s in test if not s.label or _kind(s, folder.name) == kind]
            others = [s for s in test if s.label and _kind(s, folder.name) != kind]
            drawn = [_drawn(others, draw)[:_UNSEEN] for draw in range(draws)]
            for count in (0, _UNSEEN):
                rows = [
                    _row(folder, _confirmed(others, parts[:count], draw), tested, backbone)
                    for draw, parts in enumerate(drawn)
                ]
                print(_line(f"{folder.name}, {kind} unseen", str(count), rows), flush=True)


def _row(
    folder: Path, confirmed: Sequence[Sample], tested: Sequence[Sample], backbone: str
) -> dict[str, Any]:
    about = ("confirmed defects", backbone, [str(sample.path) for sample in confirmed])
    category = open_dataset(folder)
    file = _KEPT / f"{key(about, measured_sources(), [*category.train, *category.validation, *tested])}.json"
    if not file.exists():
        detector = _fitted(folder, backbone).clone()
        if confirmed:
            detector.confirm([Defect(sample.path, sample.mask) for sample in confirmed])
        metrics = evaluate(detector, replace(category, test=tuple(tested))).metrics
        told = detector.describe().get("defects", {})
        keep(file, {"metrics": metrics, "log_prior": told.get("log_prior")})
        print(f"{category.name} {len(confirmed)}: {metrics['image_auroc']:.4f}", file=sys.stderr)
    return kept(file)


@lru_cache(1)
def _fitted(folder: Path, backbone: str) -> Detector:
    """On the good images alone, once: defects are confirmed afterwards."""
    return Detector("v2", {"backbone": backbone}).fit(open_dataset(folder))


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


def _confirmed(defective: Sequence[Sample], parts: Sequence[str], draw: int) -> list[Sample]:
    """One image of each of the parts."""
    rng = np.random.default_rng([draw, 1])
    images = {part: [s for s in defective if _part(s) == part] for part in parts}
    return [own[rng.integers(len(own))] for own in images.values()]


def _part(sample: Sample) -> str:
    """What is photographed: a tile in up to six exposures, a drawn part in five conditions."""
    return _CONDITION.sub("", sample.path.stem)


def _kind(sample: Sample, category: str) -> str:
    """Tiles are named by theirs, and drawn parts take turns."""
    named = sample.path.stem.split("_")[0]
    kinds = DEFECTS.get(category)
    return kinds[int(named) % len(kinds)] if kinds else named


if __name__ == "__main__":
    main()
