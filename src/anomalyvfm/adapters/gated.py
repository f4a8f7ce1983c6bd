"""v1.4: low-rank layers that decide by themselves how much to change, joined by attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anomalyvfm.adapters.adapter import LAYERS, Adapter, attention_heads
from anomalyvfm.adapters.low_rank import LowRank


class GatedAdapter(Adapter):
    """Three gated layers one after another, their outputs mixed by attention between layers.

    The attention has 8 heads, or as many as divide D. What comes out of it for each layer is averaged over
    the layers, weighted by the layers' gates.
    """

    def __init__(self, width: int, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.ModuleList(GatedLayer(width, rank, alpha, dropout) for _ in range(LAYERS))
        self.attention = nn.MultiheadAttention(width, attention_heads(width), batch_first=True)

    def forward(self, features: Tensor) -> Tensor:
        x = features  # (B, ..., D)
        outputs, gates = [], []
        for layer in self.layers:
            x, gate = layer(x)
            outputs.append(x)
            gates.append(gate)
        stacked = torch.stack(outputs, dim=-2).flatten(0, -3)  # (N, layers, D)
        weights = torch.stack(gates, dim=-2).flatten(0, -3)  # (N, layers, 1)
        mixed, _ = self.attention(stacked, stacked, stacked, need_weights=False)  # (N, layers, D)
        average: Tensor = (weights * mixed).sum(dim=1) / weights.sum(dim=1)  # (N, D)
        return average.reshape(features.shape)


class GatedLayer(nn.Module):
    """x + gate · importance · update(LayerNorm(x)): a gate for the vector, an importance for each channel."""

    def __init__(self, width: int, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        quarter, eighth, half = (max(1, width // part) for part in (4, 8, 2))
        self.norm = nn.LayerNorm(width)
        self.update = LowRank(width, rank, alpha, dropout)
        self.gate = nn.Sequential(
            nn.Linear(width, quarter),
            nn.ReLU(),
            nn.Linear(quarter, eighth),
            nn.ReLU(),
            nn.Linear(eighth, 1),
            nn.Sigmoid(),
        )
        self.importance = nn.Sequential(
            nn.Linear(width, half), nn.ReLU(), nn.Linear(half, width), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., D) to (..., D), and the gate (..., 1)."""
        normed = self.norm(x)
        gate: Tensor = self.gate(normed)
        return x + gate * self.importance(normed) * self.update(normed), gate
