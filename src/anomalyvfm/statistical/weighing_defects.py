"""How much likeness to confirmed defects counts for an image's score, told by these defects themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from anomalyvfm.decision.calibration import Alternative, Array, Calibration
from anomalyvfm.metrics.image import auroc

# Logarithms of how likely a defect is to be like the confirmed ones: the first that pays and does no harm is
# taken. Wider steps find less: 0.346 of pcb's boards in steps of 1, where it is 0.393.
_LOG_PRIORS = tuple(-step / 4 for step in range(33))
# With fewer confirmed defects, or good images, nothing can be told.
_FEWEST_DEFECTS, _FEWEST_GOOD = 3, 8
# It pays where confirmed defects, each judged as if it had not been, are told from good images as well as
# without, and stand out by so much more of the standard deviations of these on average. What stands out by
# over so many is found anyhow.
_GAIN, _FOUND = 0.1, 4.0
# It does harm where as odd defects of which none is like another would be told worse by so much of the AUROC.
_HARM = 0.005


def weigh(
    good: Array,
    defective: Array,
    beside: Array,
    calibrated: Callable[[Array, tuple[Alternative, ...]], Calibration],
    alternatives: Callable[[float | None], tuple[Alternative, ...]],
) -> float | None:
    """The logarithm of the prior with which likeness counts, or None where scores do without it.

    ``good`` (n, K) and ``defective`` (m, K) are image scores of good images and of confirmed defects, by a
    scorer that has learned neither, and the last of them is the likeness; ``beside`` (b,) is that of places
    beside the defects, which are good and may have been photographed as good images have not. ``calibrated``
    makes a calibration of the scores of good images.
    """
    if len(defective) < _FEWEST_DEFECTS or len(good) < _FEWEST_GOOD:
        return None
    usual = np.median(good, axis=0)
    unlike = defective.copy()
    unlike[:, -1] = np.minimum(unlike[:, -1], usual[-1])
    elsewhere = np.tile(usual, (len(beside), 1))
    elsewhere[:, -1] = beside

    def told(log_prior: float | None) -> tuple[float, float, Array]:
        """How well defects are told, by how much they stand out, and how well those like no other are told.

        The latter (1 or 2,) from good images, and from places beside defects where there are any.
        """
        calibration = calibrated(good, alternatives(log_prior))
        of_good, of_defects, of_unlike = map(calibration.score, (good, defective, unlike))
        as_good = [of_good] if not len(beside) else [of_good, calibration.score(elsewhere)]
        areas = np.array([_area(scores, of_unlike) for scores in as_good])
        return _area(of_good, of_defects), float(np.minimum(of_defects, _FOUND).mean()), areas

    area, out, unharmed = told(None)
    for log_prior in _LOG_PRIORS:
        with_it, further_out, areas = told(log_prior)
        pays = with_it >= area and further_out > out + _GAIN
        if pays and (areas >= unharmed - _HARM).all():
            return log_prior
    return None


def _area(good: Array, defective: Array) -> float:
    """Area under the ROC curve."""
    labels = np.repeat([0, 1], [len(good), len(defective)])
    value = auroc(np.concatenate([good, defective]), labels).value
    return 0.5 if value is None else value
