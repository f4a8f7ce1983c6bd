"""The default scorer: patch features to a map of distances, learned as sums."""

from __future__ import annotations

import torch
from torch import Tensor

from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.grid import PatchGrid, orthonormal
from anomalyvfm.presets import GaussianSettings
from anomalyvfm.statistical.gaussian import Gaussian
from anomalyvfm.statistical.layer_contributions import channel_contributions
from anomalyvfm.statistical.sufficient_statistics import Fitted, SufficientStatistics, pooled_sums


class PatchScorer:
    """A Gaussian at every window of the feature grid, which may be conditioned on the image's summary.

    Good parts differ in ways that move all their features together: the batch, the light, the wear of a
    tool. The summary knows these, and what a position shows is judged by what such an image leads to expect
    there. The summary counts by ``context_dimensions`` random directions of it, which the sums hold before
    each position's features: p(patch | summary) then needs no other kind of sum, and the summary's own
    distance completes it to p(summary, patch).

    What it has learned is ``fitted``, at every position of ``grid``. ``window`` × ``window`` of them are
    judged by one Gaussian: unless parts are aligned, what lies at a place lies beside it in the next image.
    """

    def __init__(
        self,
        grid: PatchGrid,
        context_dimensions: int,
        summary_channels: int,
        settings: GaussianSettings,
        light_weight: float,
        device: torch.device,
        statistics: SufficientStatistics | None = None,
    ) -> None:
        self.grid = grid
        self.settings = settings
        self.context_dimensions = context_dimensions
        self.window = 1
        self._light_weight = light_weight
        dimensions = context_dimensions + grid.dimensions
        self.fitted: Fitted[Gaussian] = Fitted(
            statistics or SufficientStatistics(grid.positions, dimensions, device)
        )
        projection = grid.projection()
        self._projection = None if projection is None else projection.to(device)
        self._of_summary = (
            orthonormal(summary_channels, context_dimensions).to(device) if context_dimensions else None
        )

    def learn(self, features: PatchFeatures, sign: int = 1) -> None:
        """Add features of good images to the sums, or with ``sign=-1`` take them back."""
        self.fitted.learn(self._positions(features, self.grid), sign)

    def learn_augmented(self, features: PatchFeatures, augmented: PatchFeatures, sign: int = 1) -> None:
        """Add how features of images change with the light, or with ``sign=-1`` take it back."""
        changes = self._positions(augmented, self.grid) - self._positions(features, self.grid)
        self.fitted.learn_light(changes, sign)

    def distances(self, features: PatchFeatures) -> Tensor:
        """Mahalanobis distances (B, H, W); about 1 on good images."""
        grid = self._windows()
        squared = self.gaussian.distance(self._positions(features, grid))
        return grid.to_map(squared, features.patches.shape[0]).sqrt()

    def log_densities(self, features: PatchFeatures, window: int) -> Tensor:
        """(B,) mean logarithms of the patches' densities, for each dimension, with windows of that size."""
        grid = self.grid.coarsened(window)
        gaussian = self._of_windows(self.fitted.statistics, grid, 0.0)  # as good images vary, no more
        densities = gaussian.log_density(gaussian.distance(self._positions(features, grid)))
        return grid.to_map(densities, features.patches.shape[0]).mean((1, 2))

    def use_window(self, window: int) -> None:
        """Judge so many positions a side by one Gaussian."""
        self.window = window
        self.fitted.outdated()

    def kept(self, features: PatchFeatures) -> Tensor:
        """(B, h, w, D) patches in the dimensions that are learned."""
        return features.patches if self._projection is None else features.patches @ self._projection

    def deviations(self, vectors: Tensor, places: Tensor) -> Tensor:
        """(N, D) how vectors at places (N, 2), y and x, deviate from the means there.

        Whitened by the covariance that all positions share: those of good patches have about covariance I.
        """
        positions = self._windows().position_of(*places.unbind(1))
        off = vectors - self._own_means()[positions]
        factor = torch.linalg.cholesky(self.gaussian.pooled).to(off)
        whitened: Tensor = torch.linalg.solve_triangular(factor, off.T, upper=False).T
        return whitened

    def plane(self, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (D,) and offsets (h, w) that give kept patches' deviations along a direction (D,)."""
        factor = torch.linalg.cholesky(self.gaussian.pooled)
        exact = direction.to(factor)[:, None]
        weights = torch.linalg.solve_triangular(factor.T, exact, upper=True)[:, 0].to(direction)
        grid = self._windows()
        offsets = (self._own_means() @ weights)[:, None].expand(-1, grid.step**2)
        return weights, grid.to_map(offsets, 1)[0]

    def image_scores(self, distances: Tensor) -> Tensor:
        """(B,) mean of the largest squared distances of (B, H, W): a defect is small, noise is everywhere."""
        squared = distances.flatten(1).square()
        return squared.topk(min(self.settings.patches, squared.shape[1]), dim=1).values.mean(1)

    def contributions(self, features: PatchFeatures, places: Tensor, sums: Tensor | None) -> Tensor:
        """(K, C) parts of all channels in the squared distances at ``places`` (K, 2), y and x, of one image.

        ``sums`` (P, C) are those of all channels where the statistics hold a projection.
        """
        y, x = places.unbind(1)
        positions = self._windows().position_of(y, x)
        own = features.patches[0, y, x]
        vectors = own if self._projection is None else own @ self._projection
        if self._of_summary is not None:
            vectors = torch.cat([(features.summary @ self._of_summary).expand(len(own), -1), vectors], 1)
        deviations = None if sums is None else own - self._means(sums)[positions]
        return channel_contributions(self.gaussian, positions, vectors, self._projection, deviations)

    def _own_means(self) -> Tensor:
        """(P', D) of the windows, without the context."""
        return self.gaussian.mean[:, self.context_dimensions :]

    def _windows(self) -> PatchGrid:
        return self.grid.coarsened(self.window)

    def _means(self, sums: Tensor) -> Tensor:
        """(P', C) means of the windows, from the sums (P, C) of the positions."""
        together = pooled_sums(sums, *self.grid.shape, self.window)
        return (together / (self.fitted.statistics.count * self.window**2)).float()

    @property
    def gaussian(self) -> Gaussian:
        """What follows from all that was learned."""
        return self.fitted.derived(self._gaussian_of)

    def _gaussian_of(self, statistics: SufficientStatistics) -> Gaussian:
        # Where anything may lie anywhere, what light explains is also how most defects differ.
        weight = self._light_weight if self.window == 1 else 0.0
        return self._of_windows(statistics, self._windows(), weight)

    def _of_windows(self, statistics: SufficientStatistics, grid: PatchGrid, light_weight: float) -> Gaussian:
        together = statistics.pooled(*self.grid.shape, grid.step // self.grid.step)
        prior_images = self.settings.prior_images * grid.step**2
        return Gaussian(together, prior_images, self.context_dimensions, light_weight)

    def _positions(self, features: PatchFeatures, grid: PatchGrid) -> Tensor:
        """(P, B·step², G + D): the summary's directions, then the position's features."""
        positions = grid.to_positions(self.kept(features))
        if self._of_summary is None:
            return positions
        context = (features.summary @ self._of_summary).repeat_interleave(grid.step**2, dim=0)
        return torch.cat([context.expand(len(positions), -1, -1), positions], dim=2)
