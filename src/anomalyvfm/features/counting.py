"""Which patches lie in the region of interest, on each grid of a backbone's features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalyvfm.data import InputFrame
from anomalyvfm.data.roi import Roi
from anomalyvfm.features.backbones.backbone import PatchFeatures


@dataclass(frozen=True)
class Counting:
    """Of each grid, in the order of `PatchFeatures.grids`, the patches that count.

    The others repeat the nearest of these: nothing is learned of them, and what is learned together, such as
    the covariance that all positions share, is of patches that count.
    """

    inside: tuple[Tensor, ...]
    """(h, w) bool."""
    shown: tuple[Tensor, ...]
    """(h, w) bool, those and their neighbours: maps are interpolated between patches."""
    nearest: tuple[Tensor, ...]
    """(2, h, w) rows and columns of the nearest patches that count."""

    @classmethod
    def of(
        cls, roi: Roi, frame: InputFrame, shapes: Sequence[tuple[int, int]], device: torch.device
    ) -> Counting:
        """On grids of such (h, w). Raises InputError where one has no patch that counts."""
        from scipy import ndimage

        inside = [roi.on_grid(frame, shape) for shape in shapes]
        shown = [ndimage.binary_dilation(one, np.ones((3, 3))) for one in inside]
        nearest = [_nearest(one) for one in inside]

        def on_device(arrays: Sequence[NDArray[Any]]) -> tuple[Tensor, ...]:
            return tuple(torch.from_numpy(array).to(device) for array in arrays)

        return cls(on_device(inside), on_device(shown), on_device(nearest))

    def shown_of(self, shape: Sequence[int]) -> Tensor:
        """Those ``shown`` of the grid of this (h, w)."""
        return next(mask for mask in self.shown if tuple(mask.shape) == tuple(shape))

    def repeated(self, features: PatchFeatures) -> PatchFeatures:
        """Features in which patches that do not count repeat the nearest that do."""
        grids: Iterator[Tensor] = (
            grid[:, nearest[0], nearest[1]]  # an exported graph takes no number of images from this
            for grid, nearest in zip(features.grids, self.nearest, strict=True)
        )
        scales = [replace(scale, patches=next(grids)) for scale in features.scales]
        detail = None if features.detail is None else next(grids)
        return replace(scales[0], coarser=tuple(scales[1:]), detail=detail)


def _nearest(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    from scipy import ndimage

    places = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return np.asarray(places, np.int64)
