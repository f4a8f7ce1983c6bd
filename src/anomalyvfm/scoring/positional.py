"""The scorer of v2: a Gaussian at every position, beside one of the image as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from anomalyvfm.backbones.features import PatchFeatures
from anomalyvfm.presets import GaussianSettings
from anomalyvfm.scoring.grid import Grid
from anomalyvfm.scoring.patches import PatchScorer
from anomalyvfm.scoring.scorer import Distances, Scorer, under
from anomalyvfm.scoring.statistics import Statistics
from anomalyvfm.scoring.summary import SummaryScorer


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
        patches, summary = (
            None if tensors is None else Statistics.from_tensors(under(dict(tensors), name), device)
            for name in ("patches", "summary")
        )
        self._patches = PatchScorer(self.grid, self.given, summary_channels, settings, device, patches)
        self._summary = SummaryScorer(summary_channels, device, summary)
        self.patches = self._patches.statistics

    def learn(self, features: PatchFeatures, sign: int = 1) -> None:
        self._patches.learn(features, sign)
        self._summary.learn(features.summary, sign)

    def merge(self, other: Self) -> None:
        self._patches.merge(other._patches)
        self._summary.merge(other._summary)

    def distances(self, features: PatchFeatures) -> Distances:
        cells = self._patches.distances(features)
        opinions = (self._patches.image_scores(cells), self._summary.image_scores(features.summary))
        return Distances(cells, torch.stack(opinions, 1))

    def learn_map(self, features: PatchFeatures, sign: int = 1) -> None:
        """As :meth:`learn`, but of the cells alone: what comes and goes while a map is cross-fitted."""
        self._patches.learn(features, sign)

    def distances_without(self, features: PatchFeatures, copies: Tensor) -> Distances:
        """Of images that the map has not learned, and the summary has, each ``copies`` (B,) times."""
        cells = self._patches.distances(features)
        summary = self._summary.image_scores_without(features.summary, copies)
        return Distances(cells, torch.stack((self._patches.image_scores(cells), summary), 1))

    def derive(self) -> None:
        self._patches.derive()

    def identity(self) -> dict[str, Any]:
        return {"grid": asdict(self.grid), "given": self.given}

    def to_tensors(self) -> dict[str, Tensor]:
        return {
            **{f"patches.{name}": tensor for name, tensor in self._patches.statistics.to_tensors().items()},
            **{f"summary.{name}": tensor for name, tensor in self._summary.statistics.to_tensors().items()},
        }
