"""Large frames in overlapping tiles: cut before the backbone, blended into one feature grid after it.

Nothing downstream knows about tiles. They all have one size and start on the backbone's stride, so that
the patches of their grids coincide exactly where tiles overlap; there the features are blended with weights
that fall off linearly toward each tile's edge, which leaves no seam.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Tiling:
    """How a frame of `height` × `width` pixels is covered by square tiles.

    `tile` is the tile's side in pixels, rounded to a multiple of `stride` and no longer than the frame
    (0: the whole frame is one tile). `overlap`, in pixels, is the least that neighbours share; tiles are
    spread evenly, so it may be more. `stride` is what the backbone's input must be a multiple of.
    """

    height: int
    width: int
    tile: int
    overlap: int
    stride: int

    def __post_init__(self) -> None:
        if self.height % self.stride or self.width % self.stride:
            raise InputError(
                f"frame of {self.height}×{self.width} pixels; both sides must be multiples of {self.stride}"
            )
        if self.tile < 0 or self.overlap < 0:
            raise InputError(
                f"tile {self.tile} with overlap {self.overlap}; neither may be negative, and tile 0 is off"
            )
        if self.tile and math.ceil(self.overlap / self.stride) >= max(1, round(self.tile / self.stride)):
            raise InputError(
                f"overlap {self.overlap} leaves nothing of a tile of {self.tile} pixels "
                f"in steps of {self.stride}; choose a smaller overlap or a larger tile"
            )

    @property
    def tile_size(self) -> tuple[int, int]:
        """Height and width in pixels of every tile."""
        return self._tile_patches(self.height) * self.stride, self._tile_patches(self.width) * self.stride

    @cached_property
    def corners(self) -> tuple[tuple[int, int], ...]:
        """Top and left in pixels of each tile, row by row."""
        rows, columns = self._starts(self.height), self._starts(self.width)
        return tuple((row * self.stride, column * self.stride) for row in rows for column in columns)

    @overload
    def cut(self, batch: NDArray[np.uint8]) -> NDArray[np.uint8]: ...
    @overload
    def cut(self, batch: Tensor) -> Tensor: ...
    def cut(self, batch: NDArray[np.uint8] | Tensor) -> NDArray[np.uint8] | Tensor:
        """(B, height, width, ...) → (B·n, tile height, tile width, ...); one image's n tiles are adjacent."""
        if len(self.corners) == 1:
            return batch
        shape = (batch.shape[0] * len(self.corners), *self.tile_size, *batch.shape[3:])
        if isinstance(batch, np.ndarray):
            return np.stack([batch[:, rows, columns] for rows, columns in self._windows()], axis=1).reshape(
                shape
            )
        import torch

        return torch.stack([batch[:, rows, columns] for rows, columns in self._windows()], dim=1).reshape(
            shape
        )

    def stitch(self, features: Tensor) -> Tensor:
        """(B·n, h, w, C) features of `cut`'s tiles → (B, H, W, C) features of the frame.

        The grid may be finer than `stride` by a whole factor. Half precision is blended in float32.
        """
        if len(self.corners) == 1:
            return features
        import torch

        _, height, width, channels = features.shape
        down = self._finer(height, self.tile_size[0])
        across = self._finer(width, self.tile_size[1])
        per_image = features.reshape(-1, len(self.corners), height, width, channels)
        rows, columns = self.height // self.stride * down, self.width // self.stride * across
        frame = torch.zeros(
            (per_image.shape[0], rows, columns, channels),
            dtype=torch.promote_types(features.dtype, torch.float32),
            device=features.device,
        )
        vertical = self._weights(self.height, down)
        horizontal = self._weights(self.width, across)
        for index, (top_pixel, left_pixel) in enumerate(self.corners):
            top, left = top_pixel // self.stride * down, left_pixel // self.stride * across
            row, column = divmod(index, len(horizontal))
            weights = torch.as_tensor(
                np.outer(vertical[row], horizontal[column])[:, :, None],
                dtype=frame.dtype,
                device=frame.device,
            )
            frame[:, top : top + height, left : left + width] += weights * per_image[:, index]
        return frame.to(features.dtype)

    def pool(self, summary: Tensor) -> Tensor:
        """(B·n, D) summary vectors of the tiles → (B, D), their mean."""
        if len(self.corners) == 1:
            return summary
        return summary.reshape(-1, len(self.corners), summary.shape[-1]).mean(dim=1)

    def _windows(self) -> Iterator[tuple[slice, slice]]:
        height, width = self.tile_size
        return ((slice(top, top + height), slice(left, left + width)) for top, left in self.corners)

    def _tile_patches(self, side: int) -> int:
        patches = side // self.stride
        return min(patches, max(1, round(self.tile / self.stride))) if self.tile else patches

    def _starts(self, side: int) -> list[int]:
        """First patch of each tile along one side, evenly spread from one edge to the other."""
        span, overlap = self._tile_patches(side), math.ceil(self.overlap / self.stride)
        spare = side // self.stride - span
        steps = math.ceil(spare / (span - overlap)) if spare else 0
        return [round(index * spare / steps) for index in range(steps + 1)] if steps else [0]

    def _weights(self, side: int, finer: int) -> list[NDArray[np.float64]]:
        """Each tile's weight along one side; over any patch the tiles' weights add up to one."""
        span = self._tile_patches(side) * finer
        starts = [start * finer for start in self._starts(side)]
        # Highest in the middle, and above zero at the very edge: the frame's own edge has no other tile.
        ramp = np.minimum(np.arange(1, span + 1), np.arange(span, 0, -1)).astype(np.float64)
        total = np.zeros(side // self.stride * finer)
        for start in starts:
            total[start : start + span] += ramp
        return [ramp / total[start : start + span] for start in starts]

    def _finer(self, patches: int, pixels: int) -> int:
        factor, rest = divmod(patches * self.stride, pixels)
        if rest or not factor:
            raise ValueError(f"a grid of {patches} patches does not divide a tile of {pixels} pixels")
        return factor
