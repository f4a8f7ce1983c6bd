from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.metrics.histogram import ScoreHistogram, all_finite, keys_of, scores_of

floats = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(floats, min_size=2, max_size=20))
def test_keys_order_as_scores_and_turn_back_into_them(values: list[float]) -> None:
    scores = np.array(values, np.float32)
    keys = keys_of(scores)
    assert ((scores[:, None] < scores) == (keys[:, None] < keys)).all()
    assert (scores_of(keys) == scores).all()
    assert all_finite(keys)


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_keys_tell_what_is_not_finite(value: float) -> None:
    assert not all_finite(keys_of(np.array([0, value, -1], np.float32)))


def test_zero_and_minus_zero_are_one_score() -> None:
    keys = keys_of(np.array([0.0, -0.0, -1], np.float32))
    assert keys[0] == keys[1]


def test_keys_leave_the_scores_as_they_were() -> None:
    scores = np.array([-1, 2], np.float32)
    keys_of(scores)
    assert scores.tolist() == [-1, 2]


@given(st.lists(st.lists(st.integers(-40, 40), max_size=30), max_size=6), st.sampled_from([7, 1000]))
def test_counts_are_exact_while_the_distinct_scores_fit(batches: list[list[int]], buffer: int) -> None:
    histogram = ScoreHistogram(weighted=True, buffer=buffer)
    for batch in batches:
        histogram.add(np.array(batch, np.int32), np.array(batch, float) ** 2)
    expected = Counter(key for batch in batches for key in batch)
    bins = histogram.bins()
    assert bins.keys.tolist() == sorted(expected)
    assert np.diff(bins.counts, prepend=0).tolist() == [expected[key] for key in sorted(expected)]
    assert bins.weights is not None
    squares = [expected[key] * key**2 for key in sorted(expected)]
    assert np.diff(bins.weights, prepend=0) == pytest.approx(squares)
    assert histogram.dropped_bits == 0


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=200), st.integers(1, 60), st.randoms())
def test_bins_depend_on_the_scores_and_not_on_their_order_or_split(
    keys: list[int], buffer: int, random: np.random.RandomState
) -> None:
    shuffled = list(keys)
    random.shuffle(shuffled)
    one, other, part = (ScoreHistogram(max_bins=16, buffer=size) for size in (1000, buffer, 50))
    one.add(np.array(keys, np.int32))
    other.add(np.array(shuffled[: len(keys) // 2], np.int32))
    part.add(np.array(shuffled[len(keys) // 2 :], np.int32))
    other.merge(part)
    expected, merged = one.bins(), other.bins()
    assert one.dropped_bits == other.dropped_bits
    assert len(expected.keys) <= 16
    assert merged.keys.tolist() == expected.keys.tolist()
    assert merged.counts.tolist() == expected.counts.tolist()
    assert other.total == one.total == len(keys)
    # As few bits as will do: with one bit more, the distinct keys would not fit.
    bits = one.dropped_bits
    assert len({key >> bits for key in keys}) == len(expected.keys)
    assert bits == 0 or len({key >> (bits - 1) for key in keys}) > 16


def test_coarser_bins_on_request_leave_the_histogram_alone() -> None:
    histogram = ScoreHistogram()
    histogram.add(np.array([0, 1, 2, 3, 8], np.int32))
    assert histogram.bins(2).keys.tolist() == [0, 2]
    assert histogram.bins(2).counts.tolist() == [4, 5]
    assert histogram.bins().keys.tolist() == [0, 1, 2, 3, 8]
