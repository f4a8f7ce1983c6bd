"""The ingest gate: refuses frames that show no part well enough, for then the camera has failed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data.pixels import plane_of

_SAMPLED = 400
"""Rows and columns, at most, in which contrast is measured."""


@dataclass(frozen=True)
class Gate:
    """What a frame must have. A measure is left out where its limit is 0, and the size where it is None."""

    size: tuple[int, int] | None = None
    """Width and height in pixels."""
    min_contrast: float = 1.0
    """Standard deviation of grey levels, 0 to 127: a covered lens and a light that is off give less."""
    max_torn: float = 0.1
    """Share of the rows, from the bottom, that repeat one another exactly and are neither black nor white.

    So a decoder fills what a transfer has not brought; a sensor's noise never repeats.
    """
    min_focus: float = 0.0
    """Mean square of the Laplacian of grey levels, as it is among good images of the part."""

    def refusal(self, image: NDArray[np.uint8]) -> str | None:
        """Why no verdict should be given on an image (H, W, 3); None where one should."""
        height, width = image.shape[:2]
        if self.size is not None and (width, height) != self.size:
            return f"size: {width}×{height} pixels, and {self.size[0]}×{self.size[1]} are agreed"
        contrast = contrast_of(image) if self.min_contrast else 0.0
        if contrast < self.min_contrast:
            return f"contrast: grey levels spread by {contrast:.2f}, and {self.min_contrast:g} is the least"
        torn = torn_share(image) if self.max_torn else 0.0
        if torn > self.max_torn:
            return f"torn: the lower {torn:.0%} repeat one row, and {self.max_torn:.0%} is the most"
        focus = focus_of(image) if self.min_focus else 0.0
        if focus < self.min_focus:
            return f"focus: sharpness is {focus:.2f}, and {self.min_focus:g} is the least"
        return None


def contrast_of(image: NDArray[np.uint8]) -> float:
    """Standard deviation of the grey levels of an image (H, W, 3), in some of its rows and columns."""
    rows, columns = (-(-side // _SAMPLED) for side in image.shape[:2])
    return float(_grey(image[::rows, ::columns]).std())


def torn_share(image: NDArray[np.uint8]) -> float:
    """Share of the rows of an image (H, W, 3), from the bottom, that repeat the one above exactly.

    None that is all black or all white: a background can be so.
    """
    plane = plane_of(image)
    last = plane[-1]
    if not last.any() or last.min() == 255:
        return 0.0
    rows = len(plane)
    same = 1
    while same < rows and np.array_equal(plane[rows - 1 - same], last):
        same += 1
    return (same - 1) / rows


def focus_of(image: NDArray[np.uint8]) -> float:
    """Mean square of the Laplacian, up + down + left + right − 4 × center, of an image's grey levels."""
    grey = _grey(image)
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    return float(np.mean(np.square(laplacian)))


def _grey(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W) of 0 to 255."""
    plane = plane_of(image)
    return plane.astype(np.float32) if plane.ndim == 2 else plane.mean(2, dtype=np.float32)
