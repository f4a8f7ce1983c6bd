"""The scorer of v2: a Gaussian at every position, beside one of the image as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.grid import Grid
from anomalyvfm.presets import GaussianSettings
from anomalyvfm.scorer import Distances, Scorer, under
from anomalyvfm.statistical.image_scorer import SummaryScorer
from anomalyvfm.statistical.layer_contributions import shares
from anomalyvfm.statistical.patch_scorer import PatchScorer
from anomalyvfm.statistical.sufficient_statistics import Statistics


class PositionalScorer(Scorer):
    """Two opinions of an image: its oddest cells, and its summary."""

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
        self.given = min(settings.given, summary_channels)
        self.grid = Grid.within(*grid, channels, settings.max_mb, settings.dimensions, self.given)
        self.rows = -(-self.grid.height // self.grid.step)
        self.weights = (1.0, settings.summary_weight)
        self._relit_weight = settings.relit_weight / max(settings.relit_share, 1e-9)
        patches, summary = (
            None if tensors is None else Statistics.from_tensors(under(dict(tensors), name), device)
            for name in ("patches", "summary")
        )
        self._patches = PatchScorer(self.grid, self.given, summary_channels, settings, device, patches)
        self._summary = SummaryScorer(summary_channels, device, summary)
        self.patches = self._patches.statistics
        # Where the statistics hold a projection of the channels, the channels' own sums (P, C) beside them:
        # only these tell which layers deviate.
        self._channels: Tensor | None = None
        if self.grid.dimensions < channels:
            empty = torch.zeros(self.grid.cells, channels, dtype=torch.float64)
            self._channels = (empty if tensors is None else tensors["channels"]).to(device)

    def learn(self, features: PatchFeatures, sign: int = 1) -> None:
        self._patches.learn(features, sign)
        self._summary.learn(features.summary, sign)
        if self._channels is not None:
            self._channels += sign * self.grid.to_cells(features.patches).sum(1, dtype=torch.float64)

    def learn_relit(self, features: PatchFeatures, relit: PatchFeatures, sign: int = 1) -> None:
        """Add how features of learned images change with the light, or with ``sign=-1`` take it back.

        A distance then counts little in directions that light explains.
        """
        self.learn_map_relit(features, relit, sign)
        self._summary.learn_relit(features.summary, relit.summary, sign * self._relit_weight)

    def merge(self, other: Self) -> None:
        self._patches.merge(other._patches)
        self._summary.merge(other._summary)
        if self._channels is not None and other._channels is not None:
            self._channels += other._channels

    def distances(self, features: PatchFeatures) -> Distances:
        cells = self._patches.distances(features)
        opinions = (self._patches.image_scores(cells), self._summary.image_scores(features.summary))
        return Distances(cells, torch.stack(opinions, 1))

    def layer_shares(self, features: PatchFeatures, places: Tensor, widths: Sequence[int]) -> Tensor:
        """(K, L) share of each layer, of ``widths`` channels, in how odd K ``places`` of one image are."""
        return shares(self._patches.contributions(features, places, self._channels), widths)

    def learn_map(self, features: PatchFeatures, sign: int = 1) -> None:
        """As :meth:`learn`, but of the cells alone: what comes and goes while a map is cross-fitted."""
        self._patches.learn(features, sign)

    def learn_map_relit(self, features: PatchFeatures, relit: PatchFeatures, sign: int = 1) -> None:
        """As :meth:`learn_relit`, but of the cells alone."""
        self._patches.learn_relit(features, relit, sign * self._relit_weight)

    def distances_without(self, features: PatchFeatures, copies: Tensor, changes: Tensor) -> Distances:
        """Of images that the map has not learned, and the summary has, each ``copies`` (B,) times.

        ``changes`` (B, D) are those of the summaries in another light, 0 where an image was not relit.
        """
        cells = self._patches.distances(features)
        weight = self._relit_weight
        summary = self._summary.image_scores_without(features.summary, copies, changes, weight)
        return Distances(cells, torch.stack((self._patches.image_scores(cells), summary), 1))

    def derive(self) -> None:
        self._patches.derive()
        self._summary.derive()

    def identity(self) -> dict[str, Any]:
        return {"grid": asdict(self.grid), "given": self.given, "relit_weight": self._relit_weight}

    def to_tensors(self) -> dict[str, Tensor]:
        return {
            **{f"patches.{name}": tensor for name, tensor in self._patches.statistics.to_tensors().items()},
            **{f"summary.{name}": tensor for name, tensor in self._summary.statistics.to_tensors().items()},
            **({} if self._channels is None else {"channels": self._channels.cpu()}),
        }
