"""v1.3: an image seen at several sizes, a low-rank chain for each, fused into one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anomalyvfm.adapters.adapter import LAYERS, Adapter, attention_heads
from anomalyvfm.adapters.low_rank import LowRank


class MultiScaleAdapter(Adapter):
    """One chain and one projection a scale, softmax weights, attention between scales, an MLP to D.

    The attention has 8 heads, or as many as divide D; the MLP is S·D → 2·D → D with a ReLU between, and a
    LayerNorm after it.
    """

    def __init__(self, width: int, rank: int, alpha: float, dropout: float, scales: int = 3) -> None:
        super().__init__()
        self.width = width
        self.scales = scales
        self.chains = nn.ModuleList(
            nn.Sequential(*(ScaledLayer(width, rank, alpha, dropout) for _ in range(LAYERS)))
            for _ in range(scales)
        )
        self.projections = nn.ModuleList(nn.Linear(width, width) for _ in range(scales))
        self.scale_weights = nn.Parameter(torch.zeros(scales))
        self.attention = nn.MultiheadAttention(width, attention_heads(width), batch_first=True)
        self.fusion = nn.Sequential(
            nn.Linear(scales * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width), nn.LayerNorm(width)
        )

    def forward(self, features: Tensor) -> Tensor:
        adapted = [
            projection(chain(x))
            for x, chain, projection in zip(features.unbind(-2), self.chains, self.projections, strict=True)
        ]
        weighted = self.scale_weights.softmax(0)[:, None] * torch.stack(adapted, dim=-2)  # (B, ..., S, D)
        tokens = weighted.flatten(0, -3)  # (N, S, D)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)  # (N, S, D)
        fused: Tensor = self.fusion(mixed.flatten(1))  # (N, D)
        return fused.reshape(*features.shape[:-2], self.width)


class ScaledLayer(nn.Module):
    """x + gate · update(LayerNorm(x)), with one learned gate for the vector."""

    def __init__(self, width: int, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        quarter = max(1, width // 4)
        self.norm = nn.LayerNorm(width)
        self.update = LowRank(width, rank, alpha, dropout)
        self.gate = nn.Sequential(nn.Linear(width, quarter), nn.ReLU(), nn.Linear(quarter, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        updated: Tensor = x + self.gate(normed) * self.update(normed)
        return updated
