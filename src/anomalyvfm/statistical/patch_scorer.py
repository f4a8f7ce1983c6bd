"""The default scorer: patch features to a map of distances, learned as sums."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.grid import Grid, orthonormal
from anomalyvfm.presets import GaussianSettings
from anomalyvfm.statistical.gaussian import Gaussian
from anomalyvfm.statistical.layer_contributions import channel_contributions
from anomalyvfm.statistical.sufficient_statistics import Statistics


class PatchScorer:
    """A Gaussian at every cell of the feature grid, conditioned on the image's summary.

    Good parts differ in ways that move all their features together: the batch, the light, the wear of a
    tool. The summary knows these, and what a cell shows is judged by what such an image leads to expect
    there. The summary counts by ``given`` random directions of it, which the sums hold before each
    cell's features: p(cell | summary) then needs no other kind of sum, and the summary's own distance
    completes it to p(summary, cell).

    What it has learned is ``statistics``; the Gaussians are derived from it when a distance is first asked
    for, and again after :meth:`learn` changed it.
    """

    def __init__(
        self,
        grid: Grid,
        given: int,
        summary_channels: int,
        settings: GaussianSettings,
        device: torch.device,
        statistics: Statistics | None = None,
    ) -> None:
        self.grid = grid
        self.settings = settings
        self.given = given
        self.statistics = statistics or Statistics(grid.cells, self.given + grid.dimensions, device)
        projection = grid.projection()
        self._projection = None if projection is None else projection.to(device)
        self._of_summary = orthonormal(summary_channels, given).to(device) if given else None

    def learn(self, features: PatchFeatures, sign: int = 1) -> None:
        """Add features of good images to the sums, or with ``sign=-1`` take them back."""
        self.statistics.add(self._cells(features), sign)
        self.forget_derived()

    def learn_relit(self, features: PatchFeatures, relit: PatchFeatures, weight: float) -> None:
        """Add ``weight`` times the scatter of how features of images change with the light."""
        self.statistics.add_scatter(self._cells(relit) - self._cells(features), weight)
        self.forget_derived()

    def merge(self, other: PatchScorer) -> None:
        """Add what another has learned."""
        self.statistics.merge(other.statistics)
        self.forget_derived()

    def distances(self, features: PatchFeatures) -> Tensor:
        """Mahalanobis distances (B, H, W); about 1 on good images."""
        squared = self._gaussian.distance(self._cells(features))
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
        cells = self.grid.cell_of(y, x)
        own = features.patches[0, y, x]
        vectors = own if self._projection is None else own @ self._projection
        if self._of_summary is not None:
            vectors = torch.cat([(features.summary @ self._of_summary).expand(len(own), -1), vectors], 1)
        deviations = None if sums is None else own - (sums[cells] / self.statistics.count).float()
        return channel_contributions(self._gaussian, cells, vectors, self._projection, deviations)

    def derive(self) -> None:
        """Make the Gaussians from the sums now, where they are not made yet."""
        _ = self._gaussian

    def forget_derived(self) -> None:
        self.__dict__.pop("_gaussian", None)

    def __getstate__(self) -> dict[str, Any]:
        """What was learned: copies are made to learn more, and derive the rest from that."""
        return {key: value for key, value in self.__dict__.items() if key != "_gaussian"}

    @cached_property
    def _gaussian(self) -> Gaussian:
        return Gaussian(self.statistics, self.settings.prior_images * self.grid.step**2, self.given)

    def _cells(self, features: PatchFeatures) -> Tensor:
        """(P, B·step², G + D): the summary's directions, then the cell's features."""
        kept = features.patches if self._projection is None else features.patches @ self._projection
        cells = self.grid.to_cells(kept)
        if self._of_summary is None:
            return cells
        given = (features.summary @ self._of_summary).repeat_interleave(self.grid.step**2, dim=0)
        return torch.cat([given.expand(len(cells), -1, -1), cells], dim=2)
