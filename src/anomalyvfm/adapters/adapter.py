"""What the three forms of feature adapters have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Vectors adapted at once when scoring: bounds the temporary arrays of the fusing forms, whatever the grid.
_CHUNK = 8192

LAYERS = 3
"""Low-rank layers one after another, in every form."""


class Adapter(nn.Module, ABC):
    """Maps feature vectors to feature vectors of the same width D; what is trained beside a head.

    ``scales`` is how many vectors, one for each size an image is seen at, make one adapted vector.
    """

    width: int
    scales: int = 1

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """(B, ..., D) features, or (B, ..., S, D) with several scales, to (B, ..., D) adapted ones."""

    @torch.no_grad()
    def adapt(self, features: Tensor) -> Tensor:
        """As `forward`, for scoring: without dropout or gradient, in chunks, and scaled to unit length.

        (..., D) or (..., S, D) on any device → (..., D) float32 on the adapter's.
        """
        if torch.compiler.is_exporting():  # a graph for any number of images cannot be cut by it
            return self.unit(features)
        trailing = 1 if self.scales == 1 else 2
        shape = features.shape[: features.ndim - trailing]
        vectors = features.reshape(-1, *features.shape[features.ndim - trailing :])
        device = next(self.parameters()).device
        training = self.training
        self.eval()
        parts = [self.unit(part.to(device, torch.float32)) for part in torch.split(vectors, _CHUNK)]
        self.train(training)
        return torch.cat(parts).reshape(*shape, self.width)

    def unit(self, features: Tensor) -> Tensor:
        """As `forward`, scaled to unit length."""
        return F.normalize(self(features), dim=-1)


def attention_heads(width: int) -> int:
    """The 8 heads of v1.3 and v1.4, or the most below that divide the width: attention needs equal ones."""
    return next(heads for heads in range(8, 0, -1) if width % heads == 0)
