"""How much likeness to confirmed defects counts for an image's score, told by these defects themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from anomalyvfm.decision.calibration import Alternative, Array, Calibration
from anomalyvfm.metrics.image import auroc

# Logarithms of how likely a defect is to be like the confirmed ones: the first that pays is taken.
_LOG_PRIORS = (0.0, -1.0, -2.0, -3.0, -4.0, -6.0)
# With fewer confirmed defects, or good images, nothing can be told.
_FEWEST_DEFECTS, _FEWEST_GOOD = 3, 8
# It pays where confirmed defects, each judged as if it had not been, are told from good images as well as
# without, and stand out by so much more of the standard deviations of these on average. What stands out by
# over so many is found anyhow.
_GAIN, _FOUND = 0.1, 4.0


def weigh(
    good: Array,
    defective: Array,
    calibrated: Callable[[Array, tuple[Alternative, ...]], Calibration],
    alternatives: Callable[[float | None], tuple[Alternative, ...]],
) -> float | None:
    """The logarithm of the prior with which likeness counts, or None where scores do without it.

    ``good`` (n, K) and ``defective`` (m, K) are image scores of good images and of confirmed defects, by a
    scorer that has learned neither; ``calibrated`` makes a calibration of the former.
    """
    if len(defective) < _FEWEST_DEFECTS or len(good) < _FEWEST_GOOD:
        return None
    labels = np.repeat([0, 1], [len(good), len(defective)])

    def told(log_prior: float | None) -> tuple[float, float]:
        """Area under the ROC curve, and by how much defects stand out."""
        calibration = calibrated(good, alternatives(log_prior))
        scores = calibration.score(np.concatenate([good, defective]))
        area = float(auroc(scores, labels).value or 0.5)
        return area, float(np.minimum(scores[len(good) :], _FOUND).mean())

    area, out = told(None)
    for log_prior in _LOG_PRIORS:
        with_it, further_out = told(log_prior)
        if with_it >= area and further_out > out + _GAIN:
            return log_prior
    return None
