"""Where a synthetic defect goes: a rectangle drawn at random, of a size that follows the image's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.errors import InputError

Image8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SIDES = (50, 200)
"""Shortest and longest side of a patch, px, in an image of `REFERENCE` px."""

REFERENCE = 518

# Below this many pixels a circle, a line and a speck of noise look the same.
_LEAST_SIDE = 3


@dataclass(frozen=True)
class Patch:
    """The rectangle rows top … top + height − 1, columns left … left + width − 1."""

    top: int
    left: int
    height: int
    width: int

    @property
    def window(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def draw_patch(size: tuple[int, int], rng: np.random.Generator) -> Patch:
    """A patch inside an image of (height, width), both sides drawn from `SIDES` times `scale_of`.

    Raises InputError where the smallest patch of such an image would be no patch any more.
    """
    scale = scale_of(size)
    shortest, longest = (round(side * scale) for side in SIDES)
    if shortest < _LEAST_SIDE:
        needed = next(n for n in range(1, REFERENCE) if round(SIDES[0] * n / REFERENCE) >= _LEAST_SIDE)
        raise InputError(
            f"an image of {size[0]}×{size[1]} px is too small to put a synthetic defect into;"
            f" give images of at least {needed}×{needed} px"
        )
    height, width = (int(side) for side in rng.integers(shortest, longest + 1, size=2))
    return place_patch(height, width, size, rng)


def place_patch(height: int, width: int, size: tuple[int, int], rng: np.random.Generator) -> Patch:
    """A patch of that height and width, anywhere inside an image of `size`."""
    top, left = (
        int(rng.integers(whole - side + 1)) for whole, side in zip(size, (height, width), strict=True)
    )
    return Patch(top, left, height, width)


def scale_of(size: tuple[int, int]) -> float:
    """Pixels of an image of (height, width) per pixel of the reference; the shorter side decides."""
    return min(size) / REFERENCE


def check_image(image: Image8) -> None:
    """Raise ValueError unless the image is (H, W, C) uint8."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.size == 0:
        raise ValueError(f"an image must be (H, W, C) uint8, not {image.shape} {image.dtype}")


def check_severity(severity: float) -> None:
    """Raise InputError for a severity outside (0, 1]."""
    if not 0 < severity <= 1:
        raise InputError(f"severity {severity} of synthetic defects: give a value above 0, at most 1")


def changed(image: Image8, defective: Image8) -> Mask:
    """(H, W): pixels that differ in any channel. What was painted in its own colour is no defect."""
    mask: Mask = (image != defective).any(axis=2)
    return mask
