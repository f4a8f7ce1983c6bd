from __future__ import annotations

import numpy as np
import pytest

from anomalyvfm.decision.calibration import Alternative, Array, Calibration, distance_histogram
from anomalyvfm.statistical.weighing_defects import weigh


def calibrated(good: Array, alternatives: tuple[Alternative, ...]) -> Calibration:
    histogram = distance_histogram(np.ones(4))
    return Calibration(good, np.ones(len(good)), histogram, alternatives, 0.01, 0.01)


def alternatives(log_prior: float | None) -> tuple[Alternative, ...]:
    like_these = () if log_prior is None else (Alternative((0.0, 1.0), log_prior),)
    return (Alternative((1.0, 0.0)), *like_these)


def scores(count: int, distance: float, likeness: float, seed: int = 0) -> Array:
    """(count, 2) > 0 of images that stand out by so many standard deviations, in each of both."""
    noise = np.random.default_rng(seed).standard_normal((count, 2))
    return np.asarray(np.exp(0.2 * (noise + np.array([distance, likeness]))))


GOOD = scores(60, 0, 0)


def test_likeness_that_tells_what_distance_misses_counts_in_full() -> None:
    assert weigh(GOOD, scores(6, 0, 9, 1), calibrated, alternatives) == 0.0


def test_likeness_that_tells_nothing_does_not_count() -> None:
    assert weigh(GOOD, scores(6, 5, 0, 1), calibrated, alternatives) is None
    assert weigh(GOOD, scores(6, 0.5, -4, 1), calibrated, alternatives) is None


def test_likeness_that_good_images_share_does_not_count() -> None:
    good = GOOD.copy()
    good[:6, 1] = np.exp(0.2 * 30)
    assert weigh(good, scores(6, 2.5, 3, 1), calibrated, alternatives) is None


@pytest.mark.parametrize(("good", "defective"), [(60, 2), (7, 6)])
def test_too_few_tell_nothing(good: int, defective: int) -> None:
    assert weigh(GOOD[:good], scores(defective, 0, 9, 1), calibrated, alternatives) is None
