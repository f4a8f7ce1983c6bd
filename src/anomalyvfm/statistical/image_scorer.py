"""The image as a whole: Mahalanobis distance of its summary token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anomalyvfm.statistical.gaussian import Gaussian
from anomalyvfm.statistical.sufficient_statistics import Fitted, SufficientStatistics

# There are no other positions to pool over: the prior is the covariance's own diagonal.
_PRIOR_IMAGES = 3.0
_LEFT_OUT_PARTS = 100


class ImageScorer:
    """One Gaussian over the summary tokens of good images, learned as sums like a single position."""

    def __init__(
        self,
        channels: int,
        device: torch.device,
        statistics: SufficientStatistics | None = None,
        light_weight: float = 0.0,
    ) -> None:
        self._light_weight = light_weight
        self.fitted: Fitted[Gaussian] = Fitted(statistics or SufficientStatistics(1, channels, device))

    def learn(self, summary: Tensor, sign: int = 1) -> None:
        """Add (B, D) summaries of good images to the sums, or with ``sign=-1`` take them back."""
        self.fitted.learn(summary[None], sign)

    def learn_augmented(self, summary: Tensor, augmented: Tensor, sign: int = 1) -> None:
        """Add how (B, D) summaries change with the light, or with ``sign=-1`` take it back."""
        self.fitted.learn_light((augmented - summary)[None], sign)

    def image_scores(self, summary: Tensor) -> Tensor:
        """Squared Mahalanobis distances (B,) of (B, D) summaries, divided by D."""
        return self.gaussian.distance(summary[None])[0]

    def image_scores_without(
        self, summary: Tensor, changes: Tensor, groups: Sequence[Sequence[int]]
    ) -> Tensor:
        """As :meth:`image_scores`, of learned images as if none of their group, rows of (B, D), had been.

        ``changes`` (B, D) in another light were learned with them.

        A hundredth of what was learned is left out at a time, so that a hundred Gaussians do for any number
        of images. With fewer images than dimensions most of what keeps an image near the others is itself: no
        closed form is accurate enough there.
        """
        together = max(1, self.fitted.statistics.count // _LEFT_OUT_PARTS)
        scores = summary.new_empty(len(summary))
        left_out: list[int] = []
        for number, group in enumerate(groups, start=1):
            left_out += group
            if len(left_out) < together and number < len(groups):
                continue
            others = self.fitted.statistics.copy()
            others.add(summary[None, left_out], -1)
            others.add_light(changes[None, left_out], -1)
            scores[left_out] = self._gaussian_of(others).distance(summary[None, left_out])[0]
            left_out = []
        return scores

    @property
    def gaussian(self) -> Gaussian:
        """What follows from all that was learned."""
        return self.fitted.derived(self._gaussian_of)

    def _gaussian_of(self, statistics: SufficientStatistics) -> Gaussian:
        return Gaussian(statistics, _PRIOR_IMAGES, light_weight=self._light_weight)
