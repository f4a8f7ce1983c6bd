"""From a feature grid (B, H, W, C) to the positions and dimensions the statistics are kept in."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# A finer grid than of so many positions a side brings nothing: what is learned of a place holds beside it.
_POSITIONS_A_SIDE = 16
# Below this many dimensions a finer grid costs more accuracy than it brings.
_FEWEST_DIMENSIONS = 96


@dataclass(frozen=True)
class PatchGrid:
    """Which position a feature belongs to, and in how many dimensions it is kept.

    ``height`` × ``width`` features of ``channels``; ``step`` × ``step`` neighbouring features share one
    position; ``dimensions`` ≤ ``channels`` are kept by ``projection`` (channels, dimensions), a random
    orthonormal one: it needs no data, so sums made on different machines can be added, and it keeps the
    directions of small variance that a principal component analysis would drop first, which are the
    ones the Mahalanobis distance is most sensitive to.
    """

    height: int
    width: int
    channels: int
    step: int
    dimensions: int

    @classmethod
    def within(
        cls, height: int, width: int, channels: int, max_mb: float, dimensions: int | None, context: int = 0
    ) -> PatchGrid:
        """The finest grid, up to about 16 × 16, then the most dimensions, with sums under ``max_mb``.

        The sums are float64, as stored.
        ``context`` is how many dimensions beside those of the features each position's sums hold.
        """
        wanted = min(channels, dimensions or channels)
        step = max(1, round(math.sqrt(height * width) / _POSITIONS_A_SIDE))
        while True:
            positions = math.ceil(height / step) * math.ceil(width / step)
            # In d dimensions, d(d+1)/2 outer products and d sums a position, and d² of the light for all.
            half, entries = positions / 2, max_mb * 1e6 / 8
            root = math.sqrt(9 * half**2 + 4 * (half + 1) * entries)
            affordable = int((root - 3 * half) / (2 * half + 2)) - context
            if affordable >= min(wanted, _FEWEST_DIMENSIONS) or positions == 1:
                return cls(height, width, channels, step, max(1, min(wanted, affordable)))
            step += 1

    @property
    def positions(self) -> int:
        return math.prod(self.shape)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of positions."""
        return math.ceil(self.height / self.step), math.ceil(self.width / self.step)

    def coarsened(self, factor: int) -> PatchGrid:
        """The grid whose positions are ``factor`` × ``factor`` of these."""
        return replace(self, step=self.step * factor)

    def position_of(self, y: Tensor, x: Tensor) -> Tensor:
        """Which position the feature at row y and column x belongs to."""
        return y // self.step * self.shape[1] + x // self.step

    def projection(self) -> Tensor | None:
        """Orthonormal columns (channels, dimensions), the same on every machine; None to keep all."""
        return None if self.dimensions == self.channels else orthonormal(self.channels, self.dimensions)

    def to_positions(self, patches: Tensor) -> Tensor:
        """(B, H, W, D) features to (P, B·step², D); a border that does not fill a position is repeated."""
        b, h, w, d = patches.shape
        s = self.step
        below, right = -h % s, -w % s
        if below or right:
            patches = F.pad(patches.permute(0, 3, 1, 2), (0, right, 0, below), mode="replicate").permute(
                0, 2, 3, 1
            )
        rows, columns = (h + below) // s, (w + right) // s
        blocks = patches.reshape(b, rows, s, columns, s, d).permute(1, 3, 0, 2, 4, 5)
        return blocks.reshape(rows * columns, b * s * s, d)

    def to_map(self, values: Tensor, images: int) -> Tensor:
        """(P, B·step²) values of the positions back to (B, H, W)."""
        s = self.step
        rows, columns = self.shape
        blocks = values.reshape(rows, columns, images, s, s).permute(2, 0, 3, 1, 4)
        return blocks.reshape(images, rows * s, columns * s)[:, : self.height, : self.width]


@lru_cache(maxsize=16)
def orthonormal(channels: int, dimensions: int) -> Tensor:
    """Orthonormal columns (channels, dimensions), drawn at random once and for all. Not to be changed."""
    # Signs from the generator's raw bits: unlike normal draws, these never change between versions.
    bits = np.random.PCG64(0).random_raw(channels * dimensions) >> np.uint64(63)
    signs = 1 - 2 * bits.astype(np.float64).reshape(channels, dimensions)
    return torch.from_numpy(np.linalg.qr(signs).Q).float()
