from __future__ import annotations

import json
import math
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import kstest

from anomalyvfm.decision.drift import DriftTest, RunningRanks, shift_bet
from anomalyvfm.errors import InputError

Array = NDArray[np.float64]


def conformal_threshold(scores: Array, rate: float = 0.05) -> float:
    rank = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else float(scores.max()) + 0.5


def normal_test(seed: int, calibrated: int, images: float) -> tuple[DriftTest, np.random.Generator]:
    """A test of standard normal scores, and the generator of later ones."""
    random = np.random.default_rng([seed, calibrated])
    scores = random.normal(size=calibrated)
    return DriftTest(scores, conformal_threshold(scores), images, seed), random


def run_length(test: DriftTest, scores: Iterable[float]) -> float:
    """Images until the alarm; infinite where ``scores`` end without one."""
    return next((float(number) for number, score in enumerate(scores, 1) if test.add(score)), math.inf)


def endless_normal(random: np.random.Generator, shift: float = 0.0) -> Iterable[float]:
    while True:
        yield from (random.normal(size=256) + shift).tolist()


# ── p-values ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("calibrated", [1, 20, 500])
@pytest.mark.parametrize("decimals", [None, 0])
def test_p_values_are_uniform_and_uncorrelated_however_few_or_tied_the_first_scores(
    calibrated: int, decimals: int | None
) -> None:
    random = np.random.default_rng(5)
    p = []
    for seed in range(150):
        scores = random.lognormal(size=calibrated + 30)
        if decimals is not None:
            scores = scores.round(decimals)
        ranks = RunningRanks(scores[:calibrated].tolist(), seed)
        p.append([ranks.add(score) for score in scores[calibrated:].tolist()])
    values = np.array(p)
    assert kstest(values.ravel(), "uniform").pvalue > 1e-3
    assert kstest(values[:, 0], "uniform").pvalue > 1e-3
    # Of one stream: with a fixed set to compare with, its error would be common to all.
    products = (values[:, :-1] - 0.5) * (values[:, 1:] - 0.5)
    assert abs(products.mean()) < 4 * products.std() / math.sqrt(products.size)
    assert abs((values.mean(1).var() / (1 / 12 / 30)) - 1) < 0.5


def test_p_values_of_images_that_passed_the_threshold_are_uniform() -> None:
    first = []
    for seed in range(1500):
        test, random = normal_test(seed, 20, 1e9)
        seen: list[float] = []
        add = test._ranks.add
        test._ranks.add = lambda score, add=add, seen=seen: seen.append(add(score)) or seen[-1]  # type: ignore
        while not seen:
            test.add(float(random.normal()))
        first += seen
    assert kstest(first, "uniform").pvalue > 1e-3


def test_among_themselves_an_offset_of_the_calibration_is_no_drift_and_a_change_is() -> None:
    p, false_alarms, delays = [], 0, []
    for seed in range(60):
        random = np.random.default_rng([seed, 2])
        scores = random.normal(size=100) + 0.6
        test = DriftTest(scores, conformal_threshold(scores), 2000, seed, among_themselves=True)
        ranks = RunningRanks(scores.tolist(), seed, counted=False)
        p.append([ranks.add(score) for score in random.normal(size=20).tolist()])
        false_alarms += run_length(test, random.normal(size=200).tolist()) < math.inf
        test.reset(false_alarm=True)
        delays.append(run_length(test, (random.normal(size=400) + 1).tolist()))
    assert kstest(np.ravel(p), "uniform").pvalue > 1e-3
    assert kstest(np.array(p)[:, 1], "uniform").pvalue > 1e-3
    assert false_alarms <= 12  # a tenth of the streams at most, and some luck
    assert np.median(delays) < 50


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=300), st.lists(st.floats(-9, 9), max_size=30))
def test_p_values_lie_inside_the_unit_interval_and_fall_with_the_score(
    first: list[float], later: list[float]
) -> None:
    ranks = RunningRanks(first, 0)
    for score in later:
        assert 0 < ranks.add(score) < 1
    state = ranks.as_dict()
    assert len(state["counts"]) <= 128
    assert sum(state["counts"]) == len(first) + 1 + len(later)
    high, low = (RunningRanks.from_dict(state).add(score) for score in (10.0, -10.0))
    assert high < low


# ── bets and their sum ─────────────────────────────────────────────────────────────────────────────


@given(st.floats(-1.5, 1.5))
def test_a_bet_pays_the_stake_on_average_over_uniform_p_values(shift: float) -> None:
    assert quad(shift_bet, 0, 1, args=(shift,), limit=200)[0] == pytest.approx(1, abs=1e-5)


@given(st.lists(st.floats(-20, 20), min_size=3, max_size=40), st.lists(st.floats(-30, 30), max_size=60))
def test_evidence_is_never_negative_and_the_alarm_stays(
    calibration: list[float], stream: list[float]
) -> None:
    calibration = [0.0, 1.0, *calibration]
    test = DriftTest(calibration, max(calibration), 20)
    alarmed = False
    for score in stream:
        now = test.add(score)
        assert now or not alarmed
        alarmed = now
        assert 0 <= test.evidence < math.inf
        assert test.evidence < 1 or alarmed
    assert test.summary()["alarm"] == alarmed


@given(
    st.lists(st.integers(-50, 50), min_size=3, max_size=40).filter(lambda s: len(set(s)) > 2),
    st.lists(st.integers(-60, 60), max_size=60),
)
def test_a_rising_transform_of_all_scores_changes_nothing(calibration: list[int], stream: list[int]) -> None:
    def outcome(transform: np.ufunc) -> dict[str, object]:
        scores = transform(np.array(calibration, float) / 10)
        test = DriftTest(scores, float(np.sort(scores)[-2]), 30, seed=4)
        for score in transform(np.array(stream, float) / 10):
            test.add(float(score))
        return test.summary()

    assert outcome(np.exp) == outcome(np.positive) == outcome(np.arctan)


# ── how soon it alarms ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("calibrated", "images", "streams"), [(20, 200, 240), (100, 200, 240), (20, 1000, 80), (200, 500, 120)]
)
def test_false_alarms_are_at_least_as_rare_as_asked_for(calibrated: int, images: int, streams: int) -> None:
    lengths = []
    for seed in range(streams):
        test, random = normal_test(seed, calibrated, images)
        lengths.append(run_length(test, endless_normal(random)))
    error = np.std(lengths) / math.sqrt(streams)
    assert images - 3 * error < np.mean(lengths) < 3 * images


def test_a_fixed_calibration_would_be_taken_for_drift() -> None:
    # Within a quarter of the images until a false alarm, one may come in at most a quarter of the streams.
    alarms = {True: 0, False: 0}
    for fixed in alarms:
        for seed in range(100):
            test, random = normal_test(seed, 20, 3000)
            for score in random.normal(size=750).tolist():
                test.add(score)
                if fixed:
                    test._ranks.forget()
            alarms[fixed] += test.alarm_at is not None
    assert alarms[False] <= 25
    assert alarms[True] > 35


@pytest.mark.parametrize(
    ("shift", "kind", "bound"),
    [(0.5, "risen", 80), (-0.5, "fallen", 70), (1.0, "risen", 30), (-1.0, "fallen", 25)],
)
def test_a_shift_is_found_within_the_measured_number_of_images(shift: float, kind: str, bound: int) -> None:
    delays, kinds = [], []
    for seed in range(60):
        test, random = normal_test(seed, 100, 1000)
        if run_length(test, random.normal(size=100).tolist()) < math.inf:
            continue  # a false alarm before anything has changed
        delays.append(run_length(test, (random.normal(size=1000) + shift).tolist()))
        kinds.append(test.kind)
    assert len(delays) > 45
    assert np.median(delays) < bound
    assert kinds.count(kind) >= 0.9 * len(kinds)


def test_scores_beyond_the_threshold_from_one_image_to_the_next_are_found_at_once() -> None:
    test, random = normal_test(0, 100, 5000)
    assert run_length(test, random.normal(size=50).tolist()) == math.inf
    assert run_length(test, [9.0] * 60) < 30
    assert test.kind == "mostly anomalous"
    assert "more than half of the images are anomalous" in test.describe()


def test_defects_are_no_drift() -> None:
    alarms = 0
    for seed in range(40):
        test, random = normal_test(seed, 100, 5000)
        good = random.normal(size=500)
        defective = random.random(500) < 0.1
        alarms += run_length(test, np.where(defective, good + 6, good).tolist()) < math.inf
        assert test.anomalous >= defective[: test.images].sum() - 3
    # 500 images of 5000 expected until a false alarm: one stream in ten at most, and some luck.
    assert alarms <= 9


def test_evidence_falls_back_when_images_look_as_before_and_reset_ends_the_alarm() -> None:
    test, random = normal_test(1, 200, 300)
    run_length(test, endless_normal(random, 1.0))
    at, evidence = test.alarm_at, test.evidence
    for score in random.normal(size=100).tolist():
        assert test.add(score)
    assert test.alarm_at == at
    assert test.evidence < evidence
    test.reset()
    assert (test.alarm_at, test.evidence, test.images, test.kind) == (None, 0, 0, None)
    assert test._ranks.as_dict()["counts"] == test._ranks.as_dict()["first"]


def test_the_promise_holds_again_after_a_false_alarm_that_was_called_one() -> None:
    lengths = []
    for seed in range(120):
        test, random = normal_test(seed, 20, 150)
        run_length(test, endless_normal(random))
        test.reset(false_alarm=True)
        lengths.append(run_length(test, endless_normal(random)))
    assert np.mean(lengths) > 150 - 3 * np.std(lengths) / math.sqrt(len(lengths))


# ── state ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_state_goes_through_json_and_on_as_if_never_interrupted() -> None:
    test, random = normal_test(3, 300, 400)
    for score in random.normal(size=150).tolist():
        test.add(score)
    restored = DriftTest.from_dict(json.loads(json.dumps(test.as_dict(), allow_nan=False)))
    for score in (random.normal(size=200) + 0.7).tolist():
        assert test.add(score) == restored.add(score)
    assert test.alarm_at is not None
    assert test.as_dict() == restored.as_dict()
    assert test.describe() == restored.describe()


def test_the_state_does_not_grow_and_stays_finite_through_endless_drift() -> None:
    test, _ = normal_test(0, 5000, 1000)
    for _ in range(3000):
        test.add(-8.0)
        test.add(8.0)
    assert test.evidence < math.inf
    once = len(json.dumps(test.as_dict(), allow_nan=False))
    for _ in range(3000):
        test.add(-8.0)
        test.add(9.0)
    assert len(json.dumps(test.as_dict(), allow_nan=False)) < once + 100
    assert once < 12_000


def test_mistakes_are_one_line() -> None:
    with pytest.raises(InputError, match="days times images a day must be 1 or more"):
        DriftTest([0.0, 1.0, 2.0], 2.0, 0.5)
    for scores in ([], [1.0], [5.0, 6.0, 7.0], [1.0, 1.0]):
        with pytest.raises(InputError, match="calibrate with more good images"):
            DriftTest(scores, 2.0, 1000)
    state = DriftTest([0.0, 1.0, 2.0], 2.0, 10).as_dict()
    for broken in (
        {},
        {**state, "version": 2},
        {**state, "bets": [0.0]},
        {**state, "ranks": {**state["ranks"], "counts": [0, 1]}},
        {**state, "ranks": {**state["ranks"], "random": {}}},
        {**state, "alarm_at": 3, "kind": "odd"},
    ):
        with pytest.raises(InputError, match="not the state of a drift test"):
            DriftTest.from_dict(broken)
