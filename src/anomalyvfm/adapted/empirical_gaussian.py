"""Mahalanobis distance to one Gaussian with the covariance as it was found: the distance of v1.1 to v1.4."""

from __future__ import annotations

import torch
from torch import Tensor

from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics

# Eigenvalues below this share of the largest are what rounding left in directions without variance.
_LEAST = 1e-10


class EmpiricalGaussian:
    """Mean (D,) and whitening (r, D) of the maximum-likelihood Gaussian of one position's sums; float32.

    Directions in which the n vectors learned do not vary, all but n − 1 at most, have no say: the
    covariance's pseudo-inverse, as in scikit-learn's EmpiricalCovariance.
    """

    def __init__(self, statistics: SufficientStatistics) -> None:
        n = statistics.count
        mean = statistics.total[0] / n
        covariance = statistics.outer[0] / n - mean[:, None] * mean[None, :]
        values, vectors = torch.linalg.eigh(covariance)
        kept = values > _LEAST * values[-1]
        kept[: max(0, len(values) - (n - 1))] = False
        self.mean = mean.float()
        self.whitener = (vectors[:, kept] / values[kept].sqrt()).T.float()

    @property
    def rank(self) -> int:
        return len(self.whitener)

    def distance(self, vectors: Tensor) -> Tensor:
        """Mahalanobis distances (...) of (..., D) vectors."""
        white = (vectors - self.mean) @ self.whitener.T
        distances: Tensor = white.square().sum(-1).sqrt()
        return distances
