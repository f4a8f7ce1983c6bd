"""The image as a whole: Mahalanobis distance of its summary token."""

from __future__ import annotations

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
        self.fitted = Fitted(statistics or SufficientStatistics(1, channels, device), self._gaussian_of)

    def learn(self, summary: Tensor, sign: int = 1) -> None:
        """Add (B, D) summaries of good images to the sums, or with ``sign=-1`` take them back."""
        self.fitted.learn(summary[None], sign)

    def learn_augmented(self, summary: Tensor, augmented: Tensor, sign: int = 1) -> None:
        """Add how (B, D) summaries change with the light, or with ``sign=-1`` take it back."""
        self.fitted.learn_light((augmented - summary)[None], sign)

    def image_scores(self, summary: Tensor) -> Tensor:
        """Squared Mahalanobis distances (B,) of (B, D) summaries, divided by D."""
        return self.fitted.gaussian.distance(summary[None])[0]

    def image_scores_without(self, summary: Tensor, copies: Tensor, changes: Tensor) -> Tensor:
        """As :meth:`image_scores`, of learned images as if they, each ``copies`` (B,) times, had not been.

        ``changes`` (B, D) in another light were learned with them.

        A hundredth of what was learned is left out at a time, so that a hundred Gaussians do for any number
        of images. With fewer images than dimensions most of what keeps an image near the others is itself: no
        closed form is accurate enough there.
        """
        together = max(1, self.fitted.statistics.count // _LEFT_OUT_PARTS)
        scores = []
        for start in range(0, len(summary), together):
            part = slice(start, start + together)
            others = self.fitted.statistics.copy()
            for row, change, count in zip(summary[part], changes[part], copies[part].tolist(), strict=True):
                for _ in range(count):
                    others.add(row[None, None], -1)
                    others.add_light(change[None, None], -1)
            scores.append(self._gaussian_of(others).distance(summary[None, part])[0])
        return torch.cat(scores)

    def _gaussian_of(self, statistics: SufficientStatistics) -> Gaussian:
        return Gaussian(statistics, _PRIOR_IMAGES, light_weight=self._light_weight)
