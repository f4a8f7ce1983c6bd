from __future__ import annotations

import numpy as np
import pytest

from anomalyvfm.decision.calibration import Alternative, Array, Calibration, distance_histogram
from anomalyvfm.metrics.image import auroc
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
NOTHING = np.empty(0)
"""Beside defects without a mask."""


def test_likeness_that_tells_what_distance_misses_counts() -> None:
    assert weigh(GOOD, scores(6, 0, 9, 1), NOTHING, calibrated, alternatives) is not None


def test_likeness_that_tells_nothing_does_not_count() -> None:
    assert weigh(GOOD, scores(6, 5, 0, 1), NOTHING, calibrated, alternatives) is None
    assert weigh(GOOD, scores(6, 0.5, -4, 1), NOTHING, calibrated, alternatives) is None


def test_likeness_that_good_images_share_does_not_count() -> None:
    good = GOOD.copy()
    good[:6, 1] = np.exp(0.2 * 30)
    assert weigh(good, scores(6, 2.5, 3, 1), NOTHING, calibrated, alternatives) is None


@pytest.mark.parametrize(("good", "defective"), [(60, 2), (7, 6)])
def test_too_few_tell_nothing(good: int, defective: int) -> None:
    assert weigh(GOOD[:good], scores(defective, 0, 9, 1), NOTHING, calibrated, alternatives) is None


def test_likeness_counts_only_so_far_as_defects_unlike_the_confirmed_are_told_as_well() -> None:
    """Good images with some likeness by chance outrank a defect that has none, the more it counts."""
    good = scores(400, 0, 0)
    good[:40, 1] = np.exp(0.2 * 3)
    log_prior = weigh(good, scores(30, 2, 8, 1), NOTHING, calibrated, alternatives)
    assert log_prior is not None and log_prior < 0
    unlike = scores(4000, 2, 0, 2)

    def area(prior: float | None) -> float:
        calibration = calibrated(good, alternatives(prior))
        labels = np.repeat([0, 1], [len(good), len(unlike)])
        return float(auroc(calibration.score(np.concatenate([good, unlike])), labels).value or 0)

    assert area(0.0) < area(None) - 0.01
    assert area(log_prior) > area(None) - 0.01


def test_places_beside_defects_that_are_as_like_them_are_good_images_that_would_be_called_defective() -> None:
    defective = scores(6, 2, 20, 1)
    alike = np.exp(0.2 * np.full(6, 19.0))
    assert weigh(GOOD, defective, np.exp(0.2 * np.zeros(6)), calibrated, alternatives) is not None
    assert weigh(GOOD, defective, alike, calibrated, alternatives) is None
