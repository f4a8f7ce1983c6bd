"""How many false alarms a kept promise may show among n unseen good images."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.stats import betabinom, binom

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Band:
    """Counts from ``low`` to ``high``, both inside: what is left out on either side has at most 2.5 %."""

    low: int
    high: int

    def side(self, alarms: int) -> int:
        """-1 below the band, 0 inside, 1 above."""
        return (alarms > self.high) - (alarms < self.low)


def binomial_band(unseen: int, rate: float) -> Band:
    """Of a threshold that good images exceed with probability ``rate`` exactly."""
    return Band(*map(int, binom(unseen, rate).interval(_CONFIDENCE)))


def conformal_band(unseen: int, rate: float, calibrating: int) -> Band | None:
    """Of a conformal threshold, which is random itself: a rank among the scores of ``calibrating`` images.

    The probability to exceed the k-th smallest of m scores is Beta(m + 1 − k, k) distributed (Vovk 2012,
    "Conditional validity of inductive conformal predictors"), so alarms are beta-binomial. None where
    the images are too few for the rate.
    """
    rank = math.ceil((calibrating + 1) * (1 - rate) - 1e-9)
    if rank > calibrating:
        return None
    return Band(*map(int, betabinom(unseen, calibrating + 1 - rank, rank).interval(_CONFIDENCE)))
