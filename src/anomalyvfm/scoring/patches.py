"""The default scorer: patch features to a map of distances, learned as sums."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from anomalyvfm.presets import GaussianSettings
from anomalyvfm.scoring.gaussian import Gaussian
from anomalyvfm.scoring.grid import Grid
from anomalyvfm.scoring.statistics import Statistics


class PatchScorer:
    """A Gaussian at every cell of the feature grid.

    What it has learned is ``statistics``; the Gaussians are derived from it when a distance is first asked
    for, and again after :meth:`learn` changed it.
    """

    def __init__(
        self,
        grid: Grid,
        settings: GaussianSettings,
        device: torch.device,
        statistics: Statistics | None = None,
    ) -> None:
        self.grid = grid
        self.settings = settings
        self.statistics = statistics or Statistics(grid.cells, grid.dimensions, device)
        projection = grid.projection()
        self._projection = None if projection is None else projection.to(device)

    def learn(self, patches: Tensor, sign: int = 1) -> None:
        """Add (B, H, W, C) features of good images to the sums, or with ``sign=-1`` take them back."""
        self.statistics.add(self._cells(patches), sign)
        self.forget_derived()

    def merge(self, other: PatchScorer) -> None:
        """Add what another has learned."""
        self.statistics.merge(other.statistics)
        self.forget_derived()

    def distances(self, patches: Tensor) -> Tensor:
        """Mahalanobis distances (B, H, W) of (B, H, W, C) features; about 1 on good images."""
        squared = self._gaussian.distance(self._cells(patches))
        return self.grid.to_map(squared, len(patches)).sqrt()

    def image_scores(self, distances: Tensor) -> Tensor:
        """(B,) mean of the largest squared distances of (B, H, W): a defect is small, noise is everywhere."""
        squared = distances.flatten(1).square()
        return squared.topk(max(1, round(self.settings.top * squared.shape[1])), dim=1).values.mean(1)

    def derive(self) -> None:
        """Make the Gaussians from the sums now, where they are not made yet."""
        _ = self._gaussian

    def forget_derived(self) -> None:
        self.__dict__.pop("_gaussian", None)

    @cached_property
    def _gaussian(self) -> Gaussian:
        return Gaussian(self.statistics, self.settings.prior_images * self.grid.step**2)

    def _cells(self, patches: Tensor) -> Tensor:
        kept = patches if self._projection is None else patches @ self._projection
        return self.grid.to_cells(kept)
