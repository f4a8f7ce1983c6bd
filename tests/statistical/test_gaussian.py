"""Distances against scikit-learn, and what the prior does."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.covariance import EmpiricalCovariance

from anomalyvfm.statistical.gaussian import Gaussian
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics


def fitted(data: NDArray[np.float64], prior_images: float) -> Gaussian:
    statistics = SufficientStatistics(data.shape[0], data.shape[2])
    statistics.add(torch.from_numpy(data))
    return Gaussian(statistics, prior_images)


def correlated(rng: np.random.Generator, cells: int, vectors: int, dims: int) -> NDArray[np.float64]:
    mixing = rng.normal(size=(cells, dims, dims))
    return rng.normal(size=(cells, vectors, dims)) @ mixing + rng.normal(5, 2, (cells, 1, dims))


# One band of rows, two, three that are equal, three that are not.
@pytest.mark.parametrize(("dims", "vectors"), [(6, 200), (70, 900), (96, 900), (100, 900)])
def test_without_prior_the_distance_is_that_of_the_empirical_covariance(dims: int, vectors: int) -> None:
    rng = np.random.default_rng(0)
    data = correlated(rng, 3, vectors, dims) / np.sqrt(dims)
    new = data[:, :10] + rng.normal(0, 1, (3, 10, dims))
    ours = fitted(data, 1e-9).distance(torch.from_numpy(new).float()).numpy()
    for cell in range(3):
        reference = EmpiricalCovariance().fit(data[cell]).mahalanobis(new[cell]) / dims
        np.testing.assert_allclose(ours[cell], reference, rtol=2e-4 if dims == 6 else 0.02)


@pytest.mark.parametrize("context", [0, 7])
def test_whitening_matrices_are_the_same_whole_and_in_bands(context: int) -> None:
    rng = np.random.default_rng(4)
    dims = 100
    data = torch.from_numpy(rng.normal(size=(5, 400, dims)) + rng.normal(size=(5, 400, 1)))
    statistics = SufficientStatistics(5, dims)
    statistics.add(data)
    gaussian = Gaussian(statistics, 10.0, context)
    asked = torch.tensor([4, 0, 4])
    whitener = gaussian.whitener(asked)
    assert whitener.shape == (3, dims - context, dims)
    assert (whitener.triu(context + 1) == 0).all()
    off = data[asked].float() - gaussian.mean[asked, None]
    expected = (off @ whitener.mT).square().mean(2)
    torch.testing.assert_close(gaussian.distance(data.float())[asked], expected, rtol=1e-5, atol=1e-6)
    volume = whitener.diagonal(offset=context, dim1=1, dim2=2).log().mean(1, keepdim=True)
    densities = gaussian.log_density(gaussian.distance(data.float()))[asked]
    torch.testing.assert_close(densities, volume - expected / 2, rtol=1e-5, atol=1e-6)


def test_covariance_is_the_posterior_mean_in_float64() -> None:
    rng = np.random.default_rng(1)
    n, dims, weight = 12, 5, 7.0
    data = correlated(rng, 40, n, dims)
    new = rng.normal(5, 3, (40, 4, dims))
    means = data.mean(1)
    scatter = np.stack([(cell - mean).T @ (cell - mean) for cell, mean in zip(data, means, strict=True)])
    everything = data.reshape(-1, dims)
    overall = np.cov(everything.T, bias=True)
    freedom = 40 * (n - 1)
    pooled = (scatter.sum(0) + dims * overall) / (freedom + dims)
    share = dims / (dims + freedom)
    pooled = (1 - share) * pooled + share * np.diag(np.diag(pooled))
    pooled += 1e-6 * (everything**2).mean() * np.eye(dims)
    ours = fitted(data, weight).distance(torch.from_numpy(new).float()).numpy()
    for cell in range(40):
        covariance = (scatter[cell] + weight * pooled) / (n + weight)
        off = new[cell] - means[cell]
        reference = np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off) / dims
        np.testing.assert_allclose(ours[cell], reference, rtol=1e-3)


def test_good_vectors_lie_about_one_away_whatever_the_dimension() -> None:
    rng = np.random.default_rng(2)
    for dims in (2, 8, 32):
        data = rng.normal(size=(50, 300, dims))
        new = torch.from_numpy(rng.normal(size=(50, 100, dims))).float()
        assert fitted(data, 20.0).distance(new).mean().item() == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("vectors", [1, 2, 5])
@pytest.mark.parametrize("cells", [1, 30])
def test_fewer_vectors_than_dimensions_still_give_finite_distances(vectors: int, cells: int) -> None:
    rng = np.random.default_rng(3)
    distances = fitted(rng.normal(size=(cells, vectors, 20)), 20.0).distance(torch.ones(cells, 2, 20) * 9)
    assert torch.isfinite(distances).all()
    assert (distances > 1).all()


def test_constant_features_stay_invertible_and_a_change_stands_out() -> None:
    gaussian = fitted(np.full((4, 10, 6), 2.0), 20.0)
    same, changed = torch.full((4, 1, 6), 2.0), torch.full((4, 1, 6), 2.5)
    assert gaussian.distance(same).max().item() < 1e-3
    assert gaussian.distance(changed).min().item() > 100
