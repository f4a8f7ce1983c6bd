"""The scorer of v1.1 to v1.4: adapted features of unit length, and one Gaussian for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from anomalyvfm.adapted.adapters import Adapter, digest, to_tensors
from anomalyvfm.adapted.empirical_gaussian import EmpiricalGaussian
from anomalyvfm.decision.calibration import Alternative
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.pipeline import Distances, Scorer, Spread, under
from anomalyvfm.statistical.sufficient_statistics import Fitted, SufficientStatistics


class AdaptedScorer(Scorer):
    """Distance of the adapted summary is the image's one score, those of adapted patches make its map.

    Without an ``adapter`` the frozen features are scaled to unit length, and with several scales averaged.
    """

    alternatives = (Alternative((1.0,)),)

    def __init__(
        self,
        channels: int,
        device: torch.device,
        adapter: Adapter | None = None,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.device = device
        self.adapter = adapter
        self.patches: Fitted[EmpiricalGaussian]
        self.summary: Fitted[EmpiricalGaussian]
        self.patches, self.summary = (
            Fitted(
                SufficientStatistics(1, channels, device)
                if tensors is None
                else SufficientStatistics.from_tensors(under(dict(tensors), name), device)
            )
            for name in ("patches", "summary")
        )

    def learn(self, features: PatchFeatures, sign: int = 1) -> None:
        patches = self._adapted(features.patches)
        self.patches.learn(patches.reshape(1, -1, patches.shape[-1]), sign)
        self.summary.learn(self._adapted(with_token(features).summary)[None], sign)

    def merge(self, other: Self) -> None:
        self.patches.merge(other.patches)
        self.summary.merge(other.summary)

    def distances(self, features: PatchFeatures) -> Distances:
        for_patches = self.patches.derived(EmpiricalGaussian)
        for_summary = self.summary.derived(EmpiricalGaussian)
        # Both in units of what a good vector is away on average.
        distances = for_patches.distance(self._adapted(features.patches)) / max(1, for_patches.rank) ** 0.5
        summary = for_summary.distance(self._adapted(with_token(features).summary))
        return Distances(distances, summary[:, None] / max(1, for_summary.rank) ** 0.5)

    def derive(self) -> None:
        _ = self.patches.derived(EmpiricalGaussian), self.summary.derived(EmpiricalGaussian)

    def spread(self) -> Spread | None:
        return self.patches.statistics.spread(rows=1)

    def identity(self) -> dict[str, Any]:
        return {"adapter": None if self.adapter is None else digest(self.adapter)}

    def to_tensors(self) -> dict[str, Tensor]:
        return {
            **{f"patches.{name}": tensor for name, tensor in self.patches.statistics.to_tensors().items()},
            **{f"summary.{name}": tensor for name, tensor in self.summary.statistics.to_tensors().items()},
            **(to_tensors(self.adapter, "adapter") if self.adapter is not None else {}),
        }

    def _adapted(self, features: Tensor) -> Tensor:
        """(..., D), or with several scales (..., S, D), to (..., D) of unit length."""
        if self.adapter is not None:
            return self.adapter.adapt(features)
        unit = F.normalize(features, dim=-1)
        several_scales = features.ndim in (3, 5)  # (B, S, D) summaries, (B, H, W, S, D) patches
        return unit.mean(-2) if several_scales else unit


def with_token(features: PatchFeatures) -> PatchFeatures:
    """Features whose summary, (B, D) or (B, S, D), is a vector for the image as wide as those of its patches.

    The backbone's own where it is one (a transformer's CLS token), else the mean of the patches.
    """
    if features.summary.shape[-1] == features.patches.shape[-1]:
        return features
    return PatchFeatures(features.patches, features.patches.mean(dim=(1, 2)))
