"""The image as a whole: Mahalanobis distance of its summary token."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from anomalyvfm.statistical.gaussian import Gaussian
from anomalyvfm.statistical.sufficient_statistics import Statistics

# There are no other cells to pool over: the prior is the covariance's own diagonal.
_PRIOR_IMAGES = 3.0
_LEFT_OUT_PARTS = 100


class SummaryScorer:
    """One Gaussian over the summary tokens of good images, learned as sums like a single cell."""

    def __init__(self, channels: int, device: torch.device, statistics: Statistics | None = None) -> None:
        self.statistics = statistics or Statistics(1, channels, device)

    def learn(self, summary: Tensor, sign: int = 1) -> None:
        """Add (B, D) summaries of good images to the sums, or with ``sign=-1`` take them back."""
        self.statistics.add(summary[None], sign)
        self.forget_derived()

    def learn_relit(self, summary: Tensor, relit: Tensor, weight: float) -> None:
        """Add ``weight`` times the scatter of how (B, D) summaries change with the light."""
        self.statistics.add_scatter((relit - summary)[None], weight)
        self.forget_derived()

    def merge(self, other: SummaryScorer) -> None:
        """Add what another has learned."""
        self.statistics.merge(other.statistics)
        self.forget_derived()

    def image_scores(self, summary: Tensor) -> Tensor:
        """Squared Mahalanobis distances (B,) of (B, D) summaries, divided by D."""
        return self._gaussian.distance(summary[None])[0]

    def image_scores_without(self, summary: Tensor, copies: Tensor, changes: Tensor, weight: float) -> Tensor:
        """As :meth:`image_scores`, of learned images as if they, each ``copies`` (B,) times, had not been.

        ``changes`` (B, D) were learned with them, as scatter of that weight.

        A hundredth of what was learned is left out at a time, so that a hundred Gaussians do for any number
        of images. With fewer images than dimensions most of what keeps an image near the others is itself: no
        closed form is accurate enough there.
        """
        together = max(1, self.statistics.count // _LEFT_OUT_PARTS)
        scores = []
        for start in range(0, len(summary), together):
            part = slice(start, start + together)
            others = self.statistics.copy()
            for row, change, count in zip(summary[part], changes[part], copies[part].tolist(), strict=True):
                for _ in range(count):
                    others.add(row[None, None], -1)
                    others.add_scatter(change[None, None], -weight)
            scores.append(Gaussian(others, _PRIOR_IMAGES).distance(summary[None, part])[0])
        return torch.cat(scores)

    def derive(self) -> None:
        """Make the Gaussian from the sums now, where it is not made yet."""
        _ = self._gaussian

    def forget_derived(self) -> None:
        self.__dict__.pop("_gaussian", None)

    def __getstate__(self) -> dict[str, Any]:
        """What was learned: copies are made to learn more, and derive the rest from that."""
        return {key: value for key, value in self.__dict__.items() if key != "_gaussian"}

    @cached_property
    def _gaussian(self) -> Gaussian:
        return Gaussian(self.statistics, _PRIOR_IMAGES)
