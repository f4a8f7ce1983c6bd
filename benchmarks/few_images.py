"""What a threshold by few good images rejects: `python benchmarks/few_images.py [--pcb ../shared/data/pcb]`.

Scores of the good images that calibrate are drawn, n at a time, a threshold for 1 % follows from these, and
the others above it are counted: by Student's limit alone, by calibration, by the largest draw at least.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from anomalyvfm.data import open_dataset
from anomalyvfm.decision.calibration import score_threshold
from anomalyvfm.detector import Detector

_RATE, _DRAWS = 0.01, 400
_NUMBERS = (25, 50, 72, 95)
# As calibration has them: the usual spread of scores is 1, and known as by three observations.
_PRIOR_FREEDOM = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pcb", type=Path, default=Path("../shared/data/pcb"))
    options = parser.parse_args()
    print("| data | n | Student's limit alone | calibration's threshold | at least the largest |")
    print("|---|---|---|---|---|")
    for data in (options.pcb, "elpv-mono", "elpv-poly"):
        detector = Detector("v2", {"backbone": "efficientnet-lite0"}).fit(open_dataset(data))
        scores = detector.calibration_.scores
        rng = np.random.default_rng(0)
        for n in _NUMBERS:
            rates = np.mean([_rejected(rng.permutation(scores), n) for _ in range(_DRAWS)], axis=0)
            cells = " | ".join(f"{rate:.2%}" for rate in rates)
            print(f"| {detector.category_} | {n} | {cells} |", flush=True)


def _rejected(scores: NDArray[np.float64], n: int) -> list[float]:
    """The share of all but the first n that each threshold by these rejects."""
    known, others = np.sort(scores[:n]), scores[n:]
    limit = _students_limit(known)
    thresholds = (limit, score_threshold(known, _RATE), max(limit, float(known[-1])))
    return [float((others > threshold).mean()) for threshold in thresholds]


def _students_limit(known: NDArray[np.float64]) -> float:
    n = len(known)
    squares = float(((known - known.mean()) ** 2).sum()) + _PRIOR_FREEDOM
    spread = math.sqrt(squares / (n - 1 + _PRIOR_FREEDOM))
    return float(known.mean() + spread * math.sqrt(1 + 1 / n) * t.ppf(1 - _RATE, n - 1 + _PRIOR_FREEDOM))


if __name__ == "__main__":
    main()
