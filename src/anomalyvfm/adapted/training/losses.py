"""The head an adapter is trained with, and the two confidence-weighted losses; scoring uses neither."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalyvfm.adapted.layers import SeededDropout, seeded

_WIDTHS = (512, 256)
_DROPOUT = 0.1


class Head(nn.Module):
    """D → 512 → 256 → outputs with ReLU and dropout 0.1: a logit, and with two outputs a confidence."""

    def __init__(self, width: int, outputs: int = 1, seed: int = 0) -> None:
        super().__init__()
        first, second = _WIDTHS
        with seeded(seed):
            self.layers = nn.Sequential(
                nn.Linear(width, first),
                nn.ReLU(),
                SeededDropout(_DROPOUT),
                nn.Linear(first, second),
                nn.ReLU(),
                SeededDropout(_DROPOUT),
                nn.Linear(second, outputs),
            )

    def forward(self, features: Tensor) -> Tensor:
        """(B, ..., D) to (B, ..., outputs)."""
        outputs: Tensor = self.layers(features)
        return outputs


_FOCUS = 2.0
_FOCAL_WEIGHT = 5.0
_CLIPPED = (0.1, 0.9)
_CONFIDENCE_WEIGHT = 0.1


def weighted_loss(logits: Tensor, targets: Tensor, scores: Tensor, temperature: float = 0.1) -> Tensor:
    """Binary cross-entropy times sigmoid(score / T); all of one shape, targets 0 or 1.

    The weight is taken as given: no gradient flows into `scores`.
    """
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return losses * torch.sigmoid(scores.detach() / temperature)


def confidence(logits: Tensor) -> Tensor:
    """How sure a logit is, |2·sigmoid − 1|, 0 to 1: the score that elements are weighted by in training.

    Undecided elements weigh half as much as decided ones. The logit itself would not do as the score: its
    weight vanishes where a defect is taken for normal, so calling everything normal would cost nothing.
    """
    return (2 * torch.sigmoid(logits) - 1).abs()


def confidence_map_loss(logits: Tensor, confidences: Tensor, targets: Tensor) -> Tensor:
    """c·ℓ − 0.1·log c with c = 1 + exp(confidence) and ℓ = 5·focal + |clip(sigmoid, 0.1, 0.9) − target|.

    The focal loss has γ = 2 and no class weight (Lin et al. 2017, https://arxiv.org/abs/1708.02002). All of
    one shape, targets 0 or 1. A confident element costs more where it is wrong and less where it is right.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = torch.sigmoid(logits)
    missed = (probability - targets).abs()  # 1 − p of the true class
    focal = missed**_FOCUS * cross_entropy
    loss = _FOCAL_WEIGHT * focal + (probability.clamp(*_CLIPPED) - targets).abs()
    # log(1 + exp k) is softplus, which neither overflows nor loses small values.
    return (1 + confidences.exp()) * loss - _CONFIDENCE_WEIGHT * F.softplus(confidences)
