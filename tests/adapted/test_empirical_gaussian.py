"""The Gaussian with the covariance as found: scikit-learn's distances."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import EmpiricalCovariance

from anomalyvfm.adapted.empirical_gaussian import EmpiricalGaussian
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics


def learned(vectors: np.ndarray) -> EmpiricalGaussian:
    statistics = SufficientStatistics(1, vectors.shape[1])
    statistics.add(torch.from_numpy(vectors)[None])
    return EmpiricalGaussian(statistics)


@settings(max_examples=40)
@given(n=st.integers(2, 60), dims=st.integers(1, 24), offset=st.floats(-10, 10), seed=st.integers(0, 99))
def test_distances_are_those_of_scikit_learn_with_few_vectors_and_many(
    n: int, dims: int, offset: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scales = rng.uniform(0.1, 3, dims)
    known, new = (rng.normal(offset, 1, (count, dims)) * scales for count in (n, 7))
    # Just as many vectors as it takes to fill the space leave directions of next to no variance.
    if abs(n - 1 - dims) < 2:
        return
    expected = EmpiricalCovariance().fit(known).mahalanobis(new)
    model = learned(known)
    assert model.rank == min(n - 1, dims)
    distances = model.distance(torch.from_numpy(new).float()).double().numpy()
    np.testing.assert_allclose(distances**2, expected, rtol=5e-3, atol=1e-3)


def test_directions_without_variance_have_no_say() -> None:
    rng = np.random.default_rng(0)
    flat = rng.normal(0, 1, (50, 4))
    flat[:, 2] = 7.0
    model = learned(flat)
    assert model.rank == 3
    here, there = torch.zeros(4), torch.zeros(4)
    there[2] = 100.0
    assert torch.equal(model.distance(here), model.distance(there))


def test_equal_vectors_are_at_distance_zero_from_anything() -> None:
    model = learned(np.ones((5, 3)))
    assert model.rank == 0
    assert torch.equal(model.distance(torch.tensor([[0.0, 5.0, 1.0]])), torch.zeros(1))


def test_the_squares_of_learned_vectors_average_the_rank() -> None:
    vectors = np.random.default_rng(1).normal(0, 1, (80, 6))
    squares = learned(vectors).distance(torch.from_numpy(vectors).float()).square()
    assert abs(float(squares.mean()) - 6) < 1e-3
