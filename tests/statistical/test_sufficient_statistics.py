"""Sums stream, merge and subtract exactly."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyvfm.errors import InputError
from anomalyvfm.statistical.sufficient_statistics import Fitted, SufficientStatistics


def features(cells: int, vectors: int, dims: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(3.0, 1.0, (cells, vectors, dims))).float()


def learned(data: torch.Tensor) -> SufficientStatistics:
    statistics = SufficientStatistics(data.shape[0], data.shape[2])
    statistics.add(data)
    return statistics


def relative_error(one: SufficientStatistics, other: SufficientStatistics) -> float:
    assert one.count == other.count
    pairs = ((one.total, other.total), (one.outer, other.outer))
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def test_sums_equal_numpy_in_float64() -> None:
    data = features(4, 9, 5, 0)
    statistics = learned(data)
    exact = data.numpy().astype(np.float64)
    np.testing.assert_allclose(statistics.total.numpy(), exact.sum(1), rtol=1e-14)
    np.testing.assert_allclose(statistics.outer.numpy(), np.einsum("pni,pnj->pij", exact, exact), rtol=1e-13)


@settings(max_examples=30, deadline=None)
@given(vectors=st.integers(2, 30), cut=st.integers(1, 29), seed=st.integers(0, 1000))
def test_any_split_streamed_or_merged_equals_one_pass(vectors: int, cut: int, seed: int) -> None:
    data = features(3, vectors, 4, seed)
    cut = min(cut, vectors - 1)
    whole = learned(data)
    streamed = learned(data[:, :cut])
    streamed.add(data[:, cut:])
    merged = learned(data[:, cut:])
    merged.merge(learned(data[:, :cut]))
    assert relative_error(streamed, whole) < 1e-12
    assert relative_error(merged, whole) < 1e-12


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from([1, 1, -1]), st.booleans()), min_size=1))
def test_vectors_that_wait_for_others_are_in_the_sums_when_asked(
    batches: list[tuple[int, int, bool]],
) -> None:
    whole = SufficientStatistics(40, 3)
    fitted: Fitted[int] = Fitted(SufficientStatistics(40, 3))
    for seed, (count, sign, asked) in enumerate(batches):
        batch = features(40, count, 3, seed)
        fitted.learn(batch, sign)
        whole.add(batch, sign)
        if asked:
            assert fitted.derived(lambda sums: sums.count) == whole.count
    copied = copy.deepcopy(fitted)
    for one in (fitted, copied):
        assert one.statistics.count == whole.count
        torch.testing.assert_close(one.statistics.outer, whole.outer, rtol=1e-9, atol=1e-7)
        torch.testing.assert_close(one.statistics.total, whole.total, rtol=1e-9, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(vectors=st.integers(2, 30), leaving=st.integers(1, 29), seed=st.integers(0, 1000))
def test_what_is_taken_back_leaves_no_trace(vectors: int, leaving: int, seed: int) -> None:
    data = features(3, vectors, 4, seed)
    leaving = min(leaving, vectors - 1)
    statistics = learned(data)
    statistics.add(data[:, :leaving], sign=-1)
    assert relative_error(statistics, learned(data[:, leaving:])) < 1e-11


def test_stored_and_read_back_is_equal_to_the_last_bit() -> None:
    statistics = learned(features(3, 7, 6, 1))
    again = SufficientStatistics.from_tensors(statistics.to_tensors())
    assert again.count == statistics.count
    assert torch.equal(again.total, statistics.total)
    assert torch.equal(again.outer, statistics.outer)


def test_sums_of_other_shapes_do_not_merge() -> None:
    with pytest.raises(InputError, match="3 positions of 5 dimensions against 3 of 4"):
        SufficientStatistics(3, 4).merge(SufficientStatistics(3, 5))


def test_a_copy_shares_what_is_derived_until_it_learns() -> None:
    derived: list[int] = []

    def derive(sums: SufficientStatistics) -> int:
        derived.append(sums.count)
        return sums.count

    fitted: Fitted[int] = Fitted(SufficientStatistics(40, 3))
    vectors = torch.randn(40, 5, 3, generator=torch.Generator().manual_seed(0))
    fitted.learn(vectors)
    assert fitted.derived(derive) == 5
    other = copy.deepcopy(fitted)
    assert other.derived(derive) == 5 and derived == [5]
    other.learn(vectors[:, :2])
    assert (other.derived(derive), fitted.derived(derive), fitted.statistics.count) == (7, 5, 5)
    fitted.learn(vectors[:, :1], -1)
    assert (other.derived(derive), fitted.derived(derive)) == (7, 4)
