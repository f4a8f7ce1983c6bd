"""Parts whose light is the defect: bleached, scorched, faded or tinted as a whole.

    python benchmarks/odd_light.py [--data pcb,foam] [--seed 0]

Good images that are tested are made 15 % brighter, 15 % darker, a fifth flatter, and warmer. Image AUROC
against the same images as they are, without and with the light judged (`gaussian.judge_light`), beside that
of the real test images and the share of their good ones that is rejected.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from anomalyvfm.decision.calibration import Calibration
from changed_everywhere import Change, Pixels, area, judge, warmer
from splits import names


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="real,generated")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    columns = ("data", "light", "test images", "false alarms", *_CHANGES)
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|", flush=True)
    for name in names(options.data):
        judged = judge(name, options.seed, _CHANGES, **{"gaussian.judge_light": True})
        for said, calibration, counting in (
            ("not judged", without_light(judged.calibration), slice(-1)),
            ("judged", judged.calibration, slice(None)),
        ):
            pairs = [(good[:, counting], odd[:, counting]) for good, odd in judged.pairs]
            areas = [area(calibration, good, odd) for good, odd in pairs]
            alarms = calibration.score(pairs[0][0]) > calibration.threshold
            cells = [f"{areas[0]:.3f}", f"{alarms.mean():.2%}", *(f"{one:.3f}" for one in areas[1:])]
            print(f"| {name} | {said} | {' | '.join(cells)} |", flush=True)


def without_light(calibration: Calibration) -> Calibration:
    """As that of a fit that does not judge it: the last of the scores left out."""
    alternatives = (one._replace(weights=one.weights[:-1]) for one in calibration.alternatives[:-1])
    return replace(
        calibration, image_scores=calibration.image_scores[:, :-1], alternatives=tuple(alternatives)
    )


def _times(gain: float) -> Change:
    return lambda pixels, _: np.clip(pixels * gain, 0, 255).astype(np.uint8)


def _flatter(pixels: Pixels, _: np.random.Generator) -> Pixels:
    mean = pixels.mean((0, 1))
    flat: Pixels = (mean + 0.8 * (pixels - mean)).astype(np.uint8)
    return flat


_CHANGES: Mapping[str, Change] = {
    "brighter": _times(1.15),
    "darker": _times(0.85),
    "flatter": _flatter,
    "warmer": warmer,
}

if __name__ == "__main__":
    main()
