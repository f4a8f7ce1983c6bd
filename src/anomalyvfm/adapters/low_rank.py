"""The low-rank update all forms are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anomalyvfm.adapters.dropout import SeededDropout
from anomalyvfm.errors import InputError

_SPREAD_OF_A = 0.01


class LowRank(nn.Module):
    """(alpha / rank) · dropout(x·A·B), with A (D, r) drawn from N(0, 0.01²) and B (r, D) zero.

    Hu et al. 2021, "LoRA", https://arxiv.org/abs/2106.09685, section 4.1. At first it adds nothing.
    """

    def __init__(self, width: int, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        check_rank(width, rank)
        self.a = nn.Parameter(_SPREAD_OF_A * torch.randn(width, rank))
        self.b = nn.Parameter(torch.zeros(rank, width))
        self.scale = alpha / rank
        self.dropout = SeededDropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        update: Tensor = self.scale * self.dropout(x @ self.a @ self.b)
        return update

    def extra_repr(self) -> str:
        width, rank = self.a.shape
        return f"{width}, rank={rank}, scale={self.scale:g}"


def check_rank(width: int, rank: int) -> None:
    """Raise InputError for a rank that is none in this many feature dimensions."""
    if not 1 <= rank <= width:
        raise InputError(
            f"LoRA rank {rank} with features of {width} dimensions: choose a rank from 1 to {width}"
        )
