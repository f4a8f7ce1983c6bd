"""v1.1 and v1.2: low-rank layers one after another."""

from __future__ import annotations

from torch import Tensor, nn

from anomalyvfm.adapters.adapter import LAYERS, Adapter
from anomalyvfm.adapters.low_rank import LowRank


class ChainAdapter(Adapter):
    """x ← x + (alpha / rank) · dropout(x·A·B), three times. Untrained, its output is its input."""

    def __init__(self, width: int, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.ModuleList(LowRank(width, rank, alpha, dropout) for _ in range(LAYERS))

    def forward(self, features: Tensor) -> Tensor:
        x = features  # (B, ..., D)
        for layer in self.layers:
            x = x + layer(x)
        return x
