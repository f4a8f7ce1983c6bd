"""The default scorer: patch features to a map of distances, learned as sums."""

from __future__ import annotations

import torch
from torch import Tensor

from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.grid import PatchGrid, orthonormal
from anomalyvfm.presets import GaussianSettings
from anomalyvfm.statistical.gaussian import Gaussian
from anomalyvfm.statistical.layer_contributions import channel_contributions
from anomalyvfm.statistical.sufficient_statistics import Fitted, SufficientStatistics


class PatchScorer:
    """A Gaussian at every position of the feature grid, conditioned on the image's summary.

    Good parts differ in ways that move all their features together: the batch, the light, the wear of a
    tool. The summary knows these, and what a position shows is judged by what such an image leads to expect
    there. The summary counts by ``context_dimensions`` random directions of it, which the sums hold before
    each position's features: p(patch | summary) then needs no other kind of sum, and the summary's own
    distance completes it to p(summary, patch).

    What it has learned is ``fitted``.
    """

    def __init__(
        self,
        grid: PatchGrid,
        context_dimensions: int,
        summary_channels: int,
        settings: GaussianSettings,
        device: torch.device,
        statistics: SufficientStatistics | None = None,
    ) -> None:
        self.grid = grid
        self.settings = settings
        self.context_dimensions = context_dimensions
        self.fitted = Fitted(
            statistics or SufficientStatistics(grid.positions, context_dimensions + grid.dimensions, device),
            self._gaussian_of,
        )
        projection = grid.projection()
        self._projection = None if projection is None else projection.to(device)
        self._of_summary = (
            orthonormal(summary_channels, context_dimensions).to(device) if context_dimensions else None
        )

    def learn(self, features: PatchFeatures, sign: int = 1) -> None:
        """Add features of good images to the sums, or with ``sign=-1`` take them back."""
        self.fitted.learn(self._positions(features), sign)

    def learn_augmented(self, features: PatchFeatures, augmented: PatchFeatures, weight: float) -> None:
        """Add ``weight`` times the scatter of how features of images change with the light."""
        self.fitted.learn_scatter(self._positions(augmented) - self._positions(features), weight)

    def distances(self, features: PatchFeatures) -> Tensor:
        """Mahalanobis distances (B, H, W); about 1 on good images."""
        squared = self.fitted.gaussian.distance(self._positions(features))
        return self.grid.to_map(squared, features.patches.shape[0]).sqrt()

    def image_scores(self, distances: Tensor) -> Tensor:
        """(B,) mean of the largest squared distances of (B, H, W): a defect is small, noise is everywhere."""
        squared = distances.flatten(1).square()
        return squared.topk(max(1, round(self.settings.top * squared.shape[1])), dim=1).values.mean(1)

    def contributions(self, features: PatchFeatures, places: Tensor, sums: Tensor | None) -> Tensor:
        """(K, C) parts of all channels in the squared distances at ``places`` (K, 2), y and x, of one image.

        ``sums`` (P, C) are those of all channels where the statistics hold a projection.
        """
        y, x = places.unbind(1)
        positions = self.grid.position_of(y, x)
        own = features.patches[0, y, x]
        vectors = own if self._projection is None else own @ self._projection
        if self._of_summary is not None:
            vectors = torch.cat([(features.summary @ self._of_summary).expand(len(own), -1), vectors], 1)
        deviations = None if sums is None else own - (sums[positions] / self.fitted.statistics.count).float()
        return channel_contributions(self.fitted.gaussian, positions, vectors, self._projection, deviations)

    def _gaussian_of(self, statistics: SufficientStatistics) -> Gaussian:
        return Gaussian(statistics, self.settings.prior_images * self.grid.step**2, self.context_dimensions)

    def _positions(self, features: PatchFeatures) -> Tensor:
        """(P, B·step², G + D): the summary's directions, then the position's features."""
        kept = features.patches if self._projection is None else features.patches @ self._projection
        positions = self.grid.to_positions(kept)
        if self._of_summary is None:
            return positions
        context = (features.summary @ self._of_summary).repeat_interleave(self.grid.step**2, dim=0)
        return torch.cat([context.expand(len(positions), -1, -1), positions], dim=2)
