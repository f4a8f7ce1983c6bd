"""The scorer of v2: a Gaussian at every position, beside one of the image as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.grid import PatchGrid
from anomalyvfm.pipeline import Distances, Scorer, Spread, under
from anomalyvfm.presets import GaussianSettings
from anomalyvfm.statistical.image_scorer import ImageScorer
from anomalyvfm.statistical.layer_contributions import shares
from anomalyvfm.statistical.patch_scorer import PatchScorer
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics


class StatisticalScorer(Scorer):
    """Two scores of an image: of its oddest patches, and of its summary."""

    def __init__(
        self,
        grid: tuple[int, int],
        channels: int,
        summary_channels: int,
        settings: GaussianSettings,
        device: torch.device,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.device = device
        self.context_dimensions = min(settings.context_dimensions, summary_channels)
        self.grid = PatchGrid.within(
            *grid, channels, settings.max_mb, settings.dimensions, self.context_dimensions
        )
        self.weights = (1.0, settings.summary_weight)
        self._light_weight = settings.light_weight / max(settings.light_share, 1e-9)
        patches, summary = (
            None if tensors is None else SufficientStatistics.from_tensors(under(dict(tensors), name), device)
            for name in ("patches", "summary")
        )
        self._patches = PatchScorer(
            self.grid, self.context_dimensions, summary_channels, settings, device, patches
        )
        self._summary = ImageScorer(summary_channels, device, summary)
        # Where the statistics hold a projection of the channels, the channels' own sums (P, C) beside them:
        # only these tell which layers deviate.
        self._channels: Tensor | None = None
        if self.grid.dimensions < channels:
            empty = torch.zeros(self.grid.positions, channels, dtype=torch.float64)
            self._channels = (empty if tensors is None else tensors["channels"]).to(device)

    def learn(self, features: PatchFeatures, sign: int = 1) -> None:
        self._patches.learn(features, sign)
        self._summary.learn(features.summary, sign)
        if self._channels is not None:
            self._channels += sign * self.grid.to_positions(features.patches).sum(1, dtype=torch.float64)

    def learn_augmented(self, features: PatchFeatures, augmented: PatchFeatures, sign: int = 1) -> None:
        """Add how features of learned images change with the light, or with ``sign=-1`` take it back.

        A distance then counts little in directions that light explains.
        """
        self.learn_map_augmented(features, augmented, sign)
        self._summary.learn_augmented(features.summary, augmented.summary, sign * self._light_weight)

    def merge(self, other: Self) -> None:
        self._patches.fitted.merge(other._patches.fitted)
        self._summary.fitted.merge(other._summary.fitted)
        if self._channels is not None and other._channels is not None:
            self._channels += other._channels

    def distances(self, features: PatchFeatures) -> Distances:
        distances = self._patches.distances(features)
        image_scores = (self._patches.image_scores(distances), self._summary.image_scores(features.summary))
        return Distances(distances, torch.stack(image_scores, 1))

    def layer_shares(self, features: PatchFeatures, places: Tensor, widths: Sequence[int]) -> Tensor:
        """(K, L) share of each layer, of ``widths`` channels, in the distances at K ``places``."""
        return shares(self._patches.contributions(features, places, self._channels), widths)

    def learn_map(self, features: PatchFeatures, sign: int = 1) -> None:
        """As :meth:`learn`, but of the patches alone: what comes and goes while a map is cross-fitted."""
        self._patches.learn(features, sign)

    def learn_map_augmented(self, features: PatchFeatures, augmented: PatchFeatures, sign: int = 1) -> None:
        """As :meth:`learn_augmented`, but of the patches alone."""
        self._patches.learn_augmented(features, augmented, sign * self._light_weight)

    def distances_without(self, features: PatchFeatures, copies: Tensor, changes: Tensor) -> Distances:
        """Of images that the map has not learned, and the summary has, each ``copies`` (B,) times.

        ``changes`` (B, D) are those of the summaries in another light, 0 where an image was not augmented.
        """
        distances = self._patches.distances(features)
        weight = self._light_weight
        summary = self._summary.image_scores_without(features.summary, copies, changes, weight)
        return Distances(distances, torch.stack((self._patches.image_scores(distances), summary), 1))

    def derive(self) -> None:
        _ = self._patches.fitted.gaussian, self._summary.fitted.gaussian

    def spread(self) -> Spread | None:
        return self._patches.fitted.statistics.spread(self.grid.shape[0], skipped=self.context_dimensions)

    def identity(self) -> dict[str, Any]:
        return {
            "grid": asdict(self.grid),
            "context_dimensions": self.context_dimensions,
            "light_weight": self._light_weight,
        }

    def to_tensors(self) -> dict[str, Tensor]:
        patches, summary = self._patches.fitted.statistics, self._summary.fitted.statistics
        return {
            **{f"patches.{name}": tensor for name, tensor in patches.to_tensors().items()},
            **{f"summary.{name}": tensor for name, tensor in summary.to_tensors().items()},
            **({} if self._channels is None else {"channels": self._channels.cpu()}),
        }
