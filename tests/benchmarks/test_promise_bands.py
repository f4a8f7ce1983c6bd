from __future__ import annotations

from math import comb

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from promise_bands import Band, binomial_band, conformal_band


def test_a_count_lies_below_inside_or_above_a_band() -> None:
    assert [Band(2, 5).side(alarms) for alarms in (1, 2, 5, 6)] == [-1, 0, 0, 1]


@given(st.integers(1, 400), st.sampled_from([0.01, 0.05, 0.3]))
def test_the_binomial_band_is_the_narrowest_with_at_most_a_fortieth_on_either_side(
    unseen: int, rate: float
) -> None:
    chances = np.array([comb(unseen, k) * rate**k * (1 - rate) ** (unseen - k) for k in range(unseen + 1)])
    band = binomial_band(unseen, rate)
    assert chances[: band.low].sum() < 0.025 <= chances[: band.low + 1].sum() + 1e-9
    assert chances[band.high + 1 :].sum() <= 0.025 + 1e-9
    assert chances[band.high :].sum() > 0.025 - 1e-9


def test_the_conformal_band_holds_the_alarms_of_thresholds_drawn_with_the_images() -> None:
    rng = np.random.default_rng(0)
    calibrating, unseen, rate = 120, 300, 0.05
    thresholds = np.sort(rng.random((4000, calibrating)), axis=1)[:, 114]  # rank ⌈121 · 0.95⌉ = 115
    alarms = (rng.random((4000, unseen)) > thresholds[:, None]).sum(1)
    band = conformal_band(unseen, rate, calibrating)
    assert band is not None
    assert abs(float(np.mean([band.side(count) == 0 for count in alarms.tolist()])) - 0.955) < 0.015
    narrow = binomial_band(unseen, rate)
    assert band.low < narrow.low
    assert band.high > narrow.high


def test_there_is_no_conformal_band_where_too_few_images_calibrate() -> None:
    assert conformal_band(200, 0.01, 98) is None
    assert conformal_band(200, 0.01, 99) is not None
