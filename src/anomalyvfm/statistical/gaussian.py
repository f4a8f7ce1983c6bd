"""Mahalanobis distance to a Gaussian at each position of the feature grid."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from anomalyvfm.features.core_threads import over_cores
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics

# Positions handled at once when factoring: bounds the temporary arrays, whatever the grid.
_CHUNK = 4
# Bands of rows in which whitening matrices, which are triangular, are kept: three hold two thirds of their
# numbers, and these go through memory for each batch. Products of fewer rows would not be fast.
_BANDS, _LEAST_ROWS = 3, 32


class Gaussian:
    """Means (P, D) and whitening matrices (P, D − G, D), lower triangular, derived from the sums; float32.

    Of D dimensions the first ``context`` G are known beforehand, and distances are those of the others
    conditioned on them: a vector whitened by the inverse of the covariance's Cholesky factor has its
    conditional residuals in the last D − G coordinates (Eaton 1983, "Multivariate Statistics", section 3.4).
    With G = 0 that is the plain Mahalanobis distance.

    The covariance of position p is the posterior mean under an inverse-Wishart prior centred on the
    covariance pooled over all positions: (n·S_p + k·S_pool) / (n + k), with k the prior's weight in images.
    With few images it tends to the pooled covariance, with many to the position's own (Friedman, 1989,
    "Regularized Discriminant Analysis", eq. 16-18, with an amount that follows n). The context is the same
    at all positions, so there is nothing to pool: its prior has its mean variance on the diagonal besides,
    which makes the regression on it a ridge regression.

    How vectors change with the light counts ``light_weight`` times to the scatter of each position: distances
    then count little in directions that light explains.
    """

    def __init__(
        self,
        statistics: SufficientStatistics,
        prior_images: float,
        context: int = 0,
        light_weight: float = 0.0,
    ) -> None:
        n = statistics.count
        positions, dims = statistics.positions, statistics.dimensions
        mean = statistics.total / n
        light = light_weight * statistics.light
        prior = _pooled(statistics, mean, light)
        prior.diagonal()[:context].add_(prior.diagonal()[:context].mean() if context else 0)
        added = prior_images * prior + light
        rows = dims - context
        count = max(1, min(_BANDS, rows // _LEAST_ROWS))
        edges = [rows * band // count for band in range(count + 1)]
        self._bands = [slice(*pair) for pair in pairwise(edges)]
        self._context, self._rows = context, rows
        # (P, rows of the band, columns up to its last row's diagonal)
        self._whitening = [
            torch.empty(positions, band.stop - band.start, context + band.stop, device=mean.device)
            for band in self._bands
        ]
        identity = torch.eye(dims, dtype=torch.float64, device=mean.device)

        # A position's n counts feature vectors; the prior's weight is in the same unit.
        def whiten(start: int) -> None:
            part = slice(start, start + _CHUNK)
            scatter = torch.baddbmm(
                statistics.outer[part], mean[part, :, None], mean[part, None, :], alpha=-n
            )
            covariance = scatter.add_(added).div_(n + prior_images)
            factor = torch.linalg.cholesky(covariance)
            # The last rows X of the inverse are those of X·L = (0, I): the others are never computed.
            last = identity[context:].expand(len(factor), -1, -1)
            whitener = torch.linalg.solve_triangular(factor, last, upper=False, left=False)
            for band, kept in zip(self._bands, self._whitening, strict=True):
                kept[part] = whitener[:, band, : context + band.stop]

        over_cores(whiten, range(0, positions, _CHUNK), mean.device)
        self.mean = mean.float()
        self.pooled = prior[context:, context:]
        """(D − G, D − G) float64, the covariance that all positions share."""

    def whitener(self, positions: Tensor) -> Tensor:
        """(K, D − G, D) whitening matrices of K positions."""
        whole = torch.zeros(len(positions), self._rows, self.mean.shape[1], device=self.mean.device)
        for band, kept in zip(self._bands, self._whitening, strict=True):
            whole[:, band, : kept.shape[2]] = kept[positions]
        return whole

    def log_density(self, squared: Tensor) -> Tensor:
        """(P, N) logarithms of densities, by their squared distances (P, N).

        Divided by D − G, without the constant; those of features conditioned on the context.
        """
        scales = [
            kept.diagonal(offset=self._context + band.start, dim1=1, dim2=2)
            for band, kept in zip(self._bands, self._whitening, strict=True)
        ]
        return torch.cat(scales, 1).log().mean(1, keepdim=True) - squared / 2

    def distance(self, features: Tensor) -> Tensor:
        """Squared Mahalanobis distances (P, N) of (P, N, D) features, divided by D − G.

        On images like those learned from, the value is about 1 whatever the dimension.
        """
        squared = torch.empty(features.shape[:2], device=features.device)

        def judge(part: slice) -> None:
            off = features[part] - self.mean[part, None]
            of_bands = [
                torch.bmm(off[:, :, : kept.shape[2]], kept[part].transpose(1, 2)).square().sum(2)
                for kept in self._whitening
            ]
            squared[part] = torch.stack(of_bands).sum(0) / self._rows

        positions = len(self.mean)
        cores = min(positions, torch.get_num_threads()) if features.device.type == "cpu" else 1
        starts = [positions * core // cores for core in range(cores + 1)]
        over_cores(judge, [slice(*pair) for pair in pairwise(starts)], features.device)
        return squared


def _pooled(statistics: SufficientStatistics, mean: Tensor, light: Tensor) -> Tensor:
    """The covariance (D, D) all positions share, positive definite for any count from one vector on.

    Three sources, each weighted by what it can tell: the scatter within positions; the scatter of all
    vectors around the grand mean, which fills in while positions hold few vectors; and the diagonal, while
    there are fewer vectors than dimensions. A floor relative to the features' size keeps constant
    features (a white image) invertible.
    """
    n, positions, dims = statistics.count, statistics.positions, statistics.dimensions
    freedom = positions * (n - 1)
    products = statistics.outer.sum(0) + positions * light
    power = products / (n * positions)
    grand = mean.mean(0)
    overall = power - grand[:, None] * grand[None, :]
    within = products - n * (mean.T @ mean)
    pooled = (within + dims * overall) / (freedom + dims)
    diagonal = pooled.diagonal().clamp_min(0)
    share = dims / (dims + freedom)
    pooled = (1 - share) * pooled + share * torch.diag(diagonal)
    floor = 1e-6 * power.diagonal().mean() + 1e-12
    return pooled + floor * torch.eye(dims, dtype=pooled.dtype, device=pooled.device)
