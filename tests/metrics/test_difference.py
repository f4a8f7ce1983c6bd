from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyvfm.metrics.difference import Placements, area_difference, image_differences
from anomalyvfm.metrics.image import auroc, image_metrics

Scores = NDArray[np.float64]


@st.composite
def two_models(draw: st.DrawFn) -> tuple[Scores, Scores, NDArray[np.bool_]]:
    """Scores with ties, and labels of which each is there more than once."""
    labels = np.array([True, True, False, False, *draw(st.lists(st.booleans(), max_size=12))])
    one, other = (
        np.array(draw(st.lists(st.integers(0, 5), min_size=len(labels), max_size=len(labels))), float)
        for _ in range(2)
    )
    return one, other, labels


def delong(one: Scores, other: Scores, labels: NDArray[np.bool_]) -> tuple[float, float]:
    """Difference and variance, as the paper's sums and covariance matrices say."""

    def kernel(bad: float, good: float) -> float:
        return 1.0 if bad > good else 0.5 if bad == good else 0.0

    both = [one, other]
    bad, good = np.flatnonzero(labels), np.flatnonzero(~labels)
    areas = [np.mean([kernel(s[i], s[j]) for i in bad for j in good]) for s in both]
    v10 = [[np.mean([kernel(s[i], s[j]) for j in good]) for i in bad] for s in both]
    v01 = [[np.mean([kernel(s[i], s[j]) for i in bad]) for j in good] for s in both]
    covariance = np.cov(v10) / len(bad) + np.cov(v01) / len(good)
    weights = np.array([1.0, -1.0])
    return float(areas[0] - areas[1]), float(weights @ covariance @ weights)


@given(two_models())
def test_placements_are_delongs(models: tuple[Scores, Scores, NDArray[np.bool_]]) -> None:
    one, other, labels = models
    difference = Placements.of(one, labels) - Placements.of(other, labels)
    value, variance = delong(one, other, labels)
    assert difference.area == pytest.approx(value, abs=1e-12)
    assert difference.variance == pytest.approx(variance, abs=1e-12)
    if (expected := auroc(one, labels).value) is not None:
        assert Placements.of(one, labels).area == pytest.approx(expected, abs=1e-12)
        assert Placements.of(one, labels).good.mean() == pytest.approx(expected, abs=1e-12)


@given(two_models())
def test_the_other_way_round_it_is_the_same_with_another_sign(
    models: tuple[Scores, Scores, NDArray[np.bool_]],
) -> None:
    one, other, labels = models
    found = image_differences((one, other), labels, (one > 2, other > 2), resamples=50)
    swapped = image_differences((other, one), labels, (other > 2, one > 2), resamples=50)
    assert found.keys() == swapped.keys()
    for name, difference in found.items():
        assert swapped[name].value == pytest.approx(-difference.value, abs=1e-12)
        assert swapped[name].interval == pytest.approx([-x for x in reversed(difference.interval)], abs=1e-12)
        assert swapped[name].p_value == pytest.approx(difference.p_value, abs=1e-9)
        assert 0 <= difference.p_value <= 1


def drawn(rng: np.random.Generator, quality: float, other_quality: float) -> tuple[Any, Any, Any]:
    """Two models of 60 good and 40 defective images that see much alike."""
    labels = np.repeat([False, True], [60, 40])
    shared = rng.normal(size=100)
    one, other = (
        shared + 0.7 * rng.normal(size=100) + better * labels for better in (quality, other_quality)
    )
    return one, other, labels


def test_equal_models_are_called_different_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    by_area, by_draws = [], []
    for _ in range(400):
        one, other, labels = drawn(rng, 1.5, 1.5)
        found = image_differences((one, other), labels, (one > 1, other > 1), resamples=200)
        by_area.append(found["image_auroc"].p_value < 0.05)
        by_draws.append(found["image_ap"].p_value < 0.05)
    # 20 are expected of 400; three standard deviations are 13.
    assert 7 <= sum(by_area) <= 33
    assert 7 <= sum(by_draws) <= 33


def test_a_clear_difference_is_no_noise_and_a_small_one_is() -> None:
    one, other, labels = drawn(np.random.default_rng(1), 3.0, 1.0)
    found = image_differences((one, other), labels, (one > 1, other > 1))
    assert found["image_auroc"].value > 0 and not found["image_auroc"].noise
    assert not found["image_ap"].noise
    low, high = found["image_auroc"].interval
    assert 0 < low < found["image_auroc"].value < high
    plain = image_metrics(one, labels, one > 1, resamples=0)["class_f1"].value
    assert plain is not None
    same = image_differences((one, one), labels, (one > 1, one > 1))
    assert all(difference.noise and difference.p_value == 1 for difference in same.values())


def test_where_a_metric_is_not_defined_there_is_no_difference() -> None:
    scores, labels = np.arange(6.0), np.array([0, 0, 0, 1, 1, 1], bool)
    flat = np.zeros(6)
    found = image_differences((scores, flat), labels, (scores > 2, flat > 2), resamples=20)
    assert set(found) == {"class_f1", "false_alarm_rate", "detection_rate"}
    assert image_differences((scores, scores), scores > 4, (scores > 2, scores > 2)) == {}


def test_sets_of_images_count_alike_whatever_their_size() -> None:
    rng = np.random.default_rng(2)
    parts = []
    for quality in (3.0, 1.0):
        one, other, labels = drawn(rng, quality, 1.0)
        parts.append(Placements.of(one, labels) - Placements.of(other, labels))
    together = area_difference([[part] for part in parts])
    assert together.value == pytest.approx((parts[0].area + parts[1].area) / 2)
    error = math.sqrt(parts[0].variance + parts[1].variance) / 2
    assert together.interval[1] - together.interval[0] == pytest.approx(2 * 1.959964 * error)


def test_several_differences_on_the_same_images_count_as_one() -> None:
    rng = np.random.default_rng(3)
    one, other, labels = drawn(rng, 2.0, 1.0)
    first = Placements.of(one, labels) - Placements.of(other, labels)
    assert area_difference([[first, first]]) == area_difference([[first]])
    second = Placements.of(other, labels) - Placements.of(one, labels)
    assert area_difference([[first, second]]).value == pytest.approx(0, abs=1e-12)
    assert area_difference([[first, second]]).noise
