from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyvfm.metrics.histogram import ScoreHistogram, all_finite, keys_of, scores_of

floats = st.floats(allow_nan=False, allow_infinity=False, width=32)


@settings(max_examples=60, deadline=None)
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


@settings(max_examples=60, deadline=None)
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


@settings(max_examples=60, deadline=None)
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


def test_coarsening_unites_neighbours_and_holds_for_what_comes_after() -> None:
    histogram = ScoreHistogram()
    histogram.add(np.array([-1, 0, 1, 2, 3, 8], np.int32))
    histogram.coarsen(2)
    histogram.add(np.array([9], np.int32))
    assert histogram.bins().keys.tolist() == [-1, 0, 2]
    assert histogram.bins().counts.tolist() == [1, 5, 7]


def test_counting_and_sorting_give_the_same_bins() -> None:
    keys = np.random.default_rng(0).integers(0, 3000, 2000).astype(np.int32)
    weights = np.sqrt(keys.astype(float))
    in_one, in_parts = ScoreHistogram(weighted=True), ScoreHistogram(weighted=True, buffer=100)
    for histogram in (in_one, in_parts):  # their range exceeds their number: sorted
        histogram.add(keys, weights)
    narrow = ScoreHistogram(weighted=True)  # 4000 keys in a range of 3000: counted
    narrow.add(np.tile(keys, 2), np.tile(weights, 2))
    assert in_one.bins().keys.tolist() == in_parts.bins().keys.tolist() == narrow.bins().keys.tolist()
    assert (in_one.bins().counts == in_parts.bins().counts).all()
    assert (2 * in_one.bins().counts == narrow.bins().counts).all()
    sums = (in_one.bins().weights, in_parts.bins().weights, narrow.bins().weights)
    assert sums[0] is not None and sums[1] is not None and sums[2] is not None
    assert np.allclose(sums[0], sums[1]) and np.allclose(2 * sums[0], sums[2])
