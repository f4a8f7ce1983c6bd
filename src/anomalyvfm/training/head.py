"""The head adapters are trained with; scoring does not use it."""

from __future__ import annotations

from torch import Tensor, nn

from anomalyvfm.adapters.dropout import SeededDropout
from anomalyvfm.adapters.seeding import seeded

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
