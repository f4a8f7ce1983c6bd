"""How long a drift test runs without a false alarm, and how soon it finds a change: tables of docs/drift.md.

    python benchmarks/drift_delays.py [--streams 250] [--changes 120]

Scores are normal, calibration scores too, and thresholds those of a 1 % promise.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from anomalyvfm.decision.calibration import score_threshold
from anomalyvfm.decision.drift import DriftTest

# Images between false alarms, numbers of calibration images.
QUIET = ((200, 20), (200, 100), (500, 20), (500, 100), (1000, 20), (1000, 100), (1000, 500))
# The same, and good images before the change.
CHANGED = (
    (1000, 20, 0),
    (1000, 20, 200),
    (1000, 100, 0),
    (1000, 100, 200),
    (1000, 500, 200),
    (30000, 20, 200),
    (30000, 100, 0),
    (30000, 100, 200),
    (30000, 500, 200),
)
SHIFTS = (0.5, -0.5, 1.0, -1.0)
LONGEST = 1500  # images looked at after a change


def begin(between: int, calibration: int, seed: int) -> tuple[DriftTest, np.random.Generator]:
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.normal(size=calibration))
    return DriftTest(scores, score_threshold(scores, 0.01), between, seed=seed), rng


def until_false_alarm(between: int, calibration: int, seed: int) -> int:
    test, rng = begin(between, calibration, seed)
    while not test.add(float(rng.normal())):
        pass
    return test.images


def delay(between: int, calibration: int, before: int, shift: float, seed: int) -> float:
    """Images from the change to the alarm; infinite without one, not a number where it came before."""
    test, rng = begin(between, calibration, seed)
    for _ in range(before):
        if test.add(float(rng.normal())):
            return np.nan
    for number in range(1, LONGEST + 1):
        if test.add(float(rng.normal()) + shift):
            return number
    return np.inf


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=250, help="without a change, of each row")
    parser.add_argument("--changes", type=int, default=120, help="streams with a change, of each cell")
    options = parser.parse_args()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        print("| asked for | calibration images | images to an alarm | standard error |\n|---|---|---|---|")
        for between, calibration in QUIET:
            alarm = partial(until_false_alarm, between, calibration)
            images = list(pool.map(alarm, range(options.streams), chunksize=8))
            error = np.std(images, ddof=1) / np.sqrt(len(images))
            print(f"| {between} | {calibration} | {np.mean(images):.0f} | {error:.0f} |", flush=True)
        print("\n| between false alarms | calibration images | before the change | +0.5 | −0.5 | +1 | −1 |")
        print("|---|---|---|---|---|---|---|")
        for row in CHANGED:
            cells = []
            for shift in SHIFTS:
                delays = list(pool.map(partial(delay, *row, shift), range(options.changes), chunksize=8))
                median = float(np.nanmedian(delays))
                cells.append(f"{median:.0f}" if np.isfinite(median) else "−")
            print(f"| {' | '.join(str(number) for number in row)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
