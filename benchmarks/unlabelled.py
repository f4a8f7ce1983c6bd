"""What defects among the images cost a fit, and what `--unlabelled` saves: `make bench-unlabelled`.

    python benchmarks/unlabelled.py [--sets magnetic_tile,pcb,cookies,elpv-mono] [--draws 3]

A set's good images to learn from (no more than 400) are polluted with its defective test images, drawn by the
seed: none, 5 % and 10 % of the batch. Each is fitted as it is, and with 5 % set aside; all are
judged on the test images that no fit has seen: image AUROC, and how many of the good ones are called
anomalous at the 1 % that is promised. Of each draw the loss to the clean fit, mean and largest of the draws.
Each fit is kept in runs/unlabelled/ as it is measured, and is not measured again.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from anomalyvfm.data import Sample
from anomalyvfm.detector import Detector
from anomalyvfm.metrics.image import auroc
from kept_rows import Row, keep, kept, key, measured_sources
from labelled_sets import arguments, opened, paths

_KEPT = Path("runs/unlabelled")
_POLLUTED = (0.05, 0.1)
_ODD_SHARE = 0.05
_MOST_GOOD = 400
_TARGET = 0.01


class Batch(NamedTuple):
    """Images to learn from and to test on, the good ones first, and how many these are."""

    learned: list[Path]
    good_learned: int
    tested: list[Path]
    good_tested: int

    @property
    def used(self) -> list[Sample]:
        """All of them, for a row's key."""
        return [*(Sample(path, 0) for path in self.learned), *(Sample(path, 1) for path in self.tested)]


def main() -> None:
    given = arguments(__doc__, draws=3)
    print("| set | defects learned from | set aside | AUROC lost, mean (largest) | false alarms |")
    print("|---|---|---|---|---|", flush=True)
    held = {share: 0 for share in _POLLUTED}
    for name in given.sets:
        clean = np.empty(0)
        for share, odd in [(0.0, 0.0), (0.0, _ODD_SHARE), *product(_POLLUTED, (0.0, _ODD_SHARE))]:
            results = [_judged(name, draw, share, odd, given.backbone) for draw in range(given.draws)]
            areas, alarms = np.array(results).T
            clean = clean if len(clean) else areas
            losses = clean - areas
            told = f"{losses.mean():.3f} ({losses.max():.3f})" if share or odd else f"of {clean.mean():.3f}"
            print(f"| {name} | {share:.0%} | {odd:.0%} | {told} | {alarms.mean():.1%} |", flush=True)
            held[share] = held.get(share, 0) + bool(odd and losses.mean() <= _TARGET)
    for share in _POLLUTED:
        text = f"{held[share]} of {len(given.sets)} sets lose no more than {_TARGET}"
        print(f"\nWith {share:.0%} of defects and 5 % set aside {text}.")


def _judged(name: str, draw: int, polluted: float, odd: float, backbone: str) -> tuple[float, float]:
    """Image AUROC, and share of good test images above the threshold, of one fit."""
    batch = drawn_batch(name, draw, polluted)
    file = _KEPT / f"{key([draw, odd, backbone], measured_sources(), batch.used)}.json"
    if not file.exists():
        keep(file, _measure(batch, draw, odd, backbone))
    row = kept(file)
    return row["auroc"], row["false_alarms"]


def _measure(batch: Batch, draw: int, odd: float, backbone: str) -> Row:
    detector = Detector("v2", {"backbone": backbone}, seed=draw).fit(batch.learned, odd_share=odd)
    verdicts, good = detector.predict(batch.tested), batch.good_tested
    labels = [0] * good + [1] * (len(verdicts) - good)
    area = float(auroc([verdict.score for verdict in verdicts], labels).value or 0.5)
    alarms = float(np.mean([verdict.anomalous for verdict in verdicts[:good]]))
    return {"auroc": area, "false_alarms": alarms, "set_aside": len(detector.set_aside_)}


def drawn_batch(name: str, draw: int, polluted: float) -> Batch:
    """A share of it defective; those tested are the same whatever the share."""
    rng = np.random.default_rng(draw)
    category = opened(name)
    learned = [*category.train, *category.validation]
    train = [learned[i].path for i in rng.permutation(len(learned))[:_MOST_GOOD]]
    good, bad = paths(category.test, 0), paths(category.test, 1)
    most = round(_POLLUTED[-1] / (1 - _POLLUTED[-1]) * len(train))
    drawn = [bad[i] for i in rng.permutation(len(bad))[:most]]
    mixed = [*train, *drawn[: round(polluted / (1 - polluted) * len(train))]]
    return Batch(mixed, len(train), [*good, *(path for path in bad if path not in set(drawn))], len(good))


if __name__ == "__main__":
    main()
