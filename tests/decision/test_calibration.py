"""P-values, thresholds and levels from scores of good images."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyvfm.decision.calibration import Alternative, Calibration, distance_histogram


def calibration(scores: Any, rate: float = 0.01, summary_weight: float = 0.0, seed: int = 0) -> Calibration:
    values = np.asarray(scores, dtype=np.float64)
    rng = np.random.default_rng(seed)
    cells = distance_histogram(rng.gamma(9.0, 1 / 9.0, 20_000))
    summaries = rng.gamma(9.0, 1 / 9.0, len(values))
    image_scores = np.stack([values, summaries], 1)
    return Calibration(image_scores, values, cells, (Alternative((1.0, summary_weight)),), rate, 0.01)


def judge(c: Calibration, raw: float) -> float:
    return float(c.score(np.array([[raw, 1.0]]))[0])


def test_p_value_is_one_plus_rank_over_one_plus_n() -> None:
    c = calibration([1.0, 2.0, 3.0, 4.0])
    for raw, p in ((0.5, 5 / 5), (2.5, 3 / 5), (4.5, 1 / 5)):
        assert c.p_value(judge(c, raw)) == pytest.approx(p)


def test_scores_count_standard_deviations_of_the_logarithm_of_good_scores() -> None:
    good = np.random.default_rng(0).lognormal(1, 0.5, 400)
    c = calibration(good)
    logs = np.log(good)
    # The prior on the spread weighs 3 images against 400.
    assert judge(c, 20.0) == pytest.approx((np.log(20.0) - logs.mean()) / logs.std(ddof=1), rel=0.01)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 300), rate=st.sampled_from([0.01, 0.05, 0.2]), seed=st.integers(0, 10_000))
def test_anomalous_images_have_a_p_value_within_the_promise_when_it_can_be_given(
    n: int, rate: float, seed: int
) -> None:
    c = calibration(np.random.default_rng(seed).lognormal(0, 1, n), rate)
    for raw in np.random.default_rng(seed + 1).lognormal(0.5, 1.5, 50):
        score = judge(c, raw)
        if c.promised:
            assert (score > c.threshold) == (c.p_value(score) <= rate)


@pytest.mark.parametrize("rate", [0.01, 0.05])
@pytest.mark.parametrize("n", [12, 99, 150])
def test_share_of_false_alarms_is_at_most_the_promise(n: int, rate: float) -> None:
    """Over many calibrations of n log-normal scores: conformal or extrapolated, the average holds."""
    rng = np.random.default_rng(5)
    alarms = []
    for seed in range(400):
        draws = rng.lognormal(0, 0.7, n + 200)
        c = calibration(draws[:n], rate, seed=seed)
        alarms.append(np.mean(c.score(np.stack([draws[n:], np.ones(200)], 1)) > c.threshold))
    error = np.std(alarms) / np.sqrt(len(alarms))
    assert np.mean(alarms) <= rate + 3 * error


def test_images_needed_is_the_smallest_number_that_can_keep_the_promise() -> None:
    for rate, needed in ((0.01, 99), (0.05, 19), (0.5, 1)):
        assert calibration(np.arange(1.0, needed + 1), rate).images_needed == needed
        assert calibration(np.arange(1.0, needed + 1), rate).promised
        if needed > 1:
            assert not calibration(np.arange(1.0, needed), rate).promised


def test_with_too_few_images_the_threshold_lies_above_every_good_score() -> None:
    c = calibration([1.0, 1.1, 1.2, 1.4])
    assert not c.promised
    assert c.threshold > judge(c, 1.4)
    assert np.isfinite(c.threshold)


def test_one_outlier_of_few_images_hides_no_defect_and_of_many_it_is_the_threshold() -> None:
    rng = np.random.default_rng(0)
    thresholds = []
    for n in (25, 60, 98, 99):
        c = calibration([*rng.lognormal(0, 0.2, n - 1), 6.0])
        thresholds.append(c.threshold / judge(c, 6.0))
    assert thresholds == sorted(thresholds)
    assert thresholds[0] < 0.7
    assert thresholds[2] == pytest.approx(1.0, abs=0.02)
    assert thresholds[3] == 1.0


@pytest.mark.parametrize("scores", [[2.0], [2.0, 2.0, 2.0]])
def test_one_image_or_equal_ones_give_finite_numbers(scores: list[float]) -> None:
    c = calibration(scores)
    assert np.isfinite([judge(c, 5.0), c.threshold, c.low_threshold, c.high_threshold]).all()
    assert judge(c, 5.0) > judge(c, 2.0)


def test_merging_equals_calibrating_on_all_images() -> None:
    rng = np.random.default_rng(7)
    one, other = calibration(rng.lognormal(size=30), seed=1), calibration(rng.lognormal(size=50), seed=2)
    merged, swapped = one.merge(other), other.merge(one)
    assert merged.count == 80
    assert merged.threshold == pytest.approx(swapped.threshold)
    assert merged.map_location == pytest.approx(swapped.map_location)
    assert merged.map_histogram.sum() == one.map_histogram.sum() + other.map_histogram.sum()


def test_map_levels_follow_the_distances_of_good_cells() -> None:
    cells = np.random.default_rng(0).gamma(9.0, 1 / 9.0, 200_000)
    c = Calibration(
        np.ones((3, 1)),
        np.array([2.0, 2.2, 2.4]),
        distance_histogram(cells),
        (Alternative((1.0,)),),
        0.01,
        0.01,
    )
    mean, spread = c.map_location
    assert mean == pytest.approx(cells.mean(), rel=0.01)
    assert spread == pytest.approx(cells.std(), rel=0.01)
    assert mean + spread * c.low_threshold == pytest.approx(np.quantile(cells, 0.99), rel=0.02)
    assert mean + spread * c.high_threshold > 2.4


def test_the_summary_counts_by_its_weight() -> None:
    good = np.random.default_rng(0).lognormal(size=100)
    without, with_summary = calibration(good), calibration(good, summary_weight=1.0)
    odd_summary, usual = np.array([[1.0, 50.0]]), np.ones((1, 2))
    assert without.score(odd_summary) == pytest.approx(without.score(usual))
    assert with_summary.score(odd_summary) > with_summary.score(usual) + 1


def test_alternatives_are_joined_as_a_mixture_of_likelihood_ratios() -> None:
    rng = np.random.default_rng(0)
    good = np.exp(rng.normal(size=(400, 2)))
    maxima, histogram = np.ones(400), distance_histogram(np.ones(9))
    alternatives = (Alternative((1.0, 0.0)), Alternative((0.5, 1.0), -2.0))
    c = Calibration(good, maxima, histogram, alternatives, 0.01, 0.01)
    new = np.exp(rng.normal(size=(20, 2), scale=3))
    locations = [(np.log(g).mean(), np.sqrt((399 * np.log(g).var(ddof=1) + 3 / 16) / 402)) for g in good.T]
    a, b = ((np.log(x) - center) / spread for x, (center, spread) in zip(new.T, locations, strict=True))
    expected = np.log(np.exp(a) + np.exp(-2) * np.exp(0.5 * a + b))
    found = c.score(new)
    slope, offset = np.polyfit(expected, found, 1)
    assert slope > 0
    assert found == pytest.approx(slope * expected + offset, abs=1e-9)
    # The zero and the unit are those of good images.
    assert c.scores.mean() == pytest.approx(0, abs=1e-9)
    assert c.scores.std() == pytest.approx(1, rel=0.01)
