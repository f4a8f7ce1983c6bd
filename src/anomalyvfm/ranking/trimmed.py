"""Gaussians of the patches that most images of a batch show, whatever the others do."""

from __future__ import annotations

from torch import Tensor

from anomalyvfm.features.grid import PatchGrid
from anomalyvfm.statistical.gaussian import Gaussian
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics

# At each position the oddest patches are left out, and the Gaussian is made again of the others: what is odd
# must not widen it. More would be left out of what is good, and fewer of a batch with as many defects.
_TRIMMED, _ROUNDS = 0.1, 2


class TrimmedGaussians:
    """A Gaussian at every position of a grid, of all but the oddest tenth of the patches there.

    The concentration step of Rousseeuw and Van Driessen (1999), "A fast algorithm for the minimum covariance
    determinant estimator", a few times from all patches on, with the prior that v2's Gaussians have.
    """

    def __init__(self, grid: PatchGrid, patches: Tensor, prior_images: float) -> None:
        """From the patches (R, h, w, D) of reference images, in the dimensions that the ``grid`` keeps."""
        self._grid = grid
        vectors = grid.to_positions(patches)
        kept = vectors
        self._gaussian = self._of(kept, prior_images)
        for _ in range(_ROUNDS - 1):
            count = max(1, round((1 - _TRIMMED) * vectors.shape[1]))
            nearest = self._gaussian.distance(vectors).topk(count, dim=1, largest=False).indices
            kept = vectors.gather(1, nearest[:, :, None].expand(-1, -1, vectors.shape[2]))
            self._gaussian = self._of(kept, prior_images)

    def maps(self, patches: Tensor) -> Tensor:
        """(B, h, w) logarithms of the squared distances of patches (B, h, w, D)."""
        squared = self._gaussian.distance(self._grid.to_positions(patches))
        return self._grid.to_map(squared, len(patches)).clamp_min(1e-9).log()

    def _of(self, vectors: Tensor, prior_images: float) -> Gaussian:
        statistics = SufficientStatistics(len(vectors), vectors.shape[2], vectors.device)
        statistics.add(vectors)
        return Gaussian(statistics, prior_images * self._grid.step**2)
