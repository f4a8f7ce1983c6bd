"""Arrays given as images: 8-bit RGB of them, or one line why they are none. Needs numpy alone."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.errors import InputError

MIN_SIDE: Final = 8
"""An image with a shorter side, in pixels, shows nothing that could be inspected."""

WHITE_16_BIT: Final = 65535

_OVERSHOOT = 0.01


class ImageError(InputError):
    """One image cannot be used: which, why, and what to do, in one line."""


def as_rgb(array: NDArray[np.generic], *, white_level: int = WHITE_16_BIT) -> NDArray[np.uint8]:
    """An image given as an array, as (H, W, 3) uint8; 8-bit RGB comes back as it is, not copied.

    Grey comes back as one plane shown three times, not to be written to: see `plane_of`.

    Takes (H, W) and (H, W, 1|3|4) of bool, uint8, uint16 (scaled by `white_level`), other integers up to 255,
    or float in [0, 1].
    A fourth channel is alpha and dropped. Raises InputError for anything else.
    """
    array = np.asarray(array)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise InputError(f"an array of shape {array.shape} is no image; give (H, W), (H, W, 3) or (H, W, 4)")
    if 0 in array.shape:
        raise InputError(
            f"an array of shape {array.shape} has no pixels; give at least {MIN_SIDE}×{MIN_SIDE}"
        )
    grey_or_rgb = _as_8_bit(array[:, :, :3], white_level)
    return grey_or_rgb if grey_or_rgb.shape[2] == 3 else thrice(grey_or_rgb[:, :, 0])


def thrice(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey image (H, W) as (H, W, 3), without a copy: its three channels are the same memory."""
    return np.broadcast_to(plane[:, :, None], (*plane.shape, 3))


def plane_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The one plane (H, W) of an image that `thrice` made, all there is to work on; else the image."""
    return image[:, :, 0] if image.strides[2] == 0 else image


def written_out(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image with memory of its own for each channel, where `thrice` made it."""
    if (plane := plane_of(image)).ndim == 3:
        return image
    whole = np.empty(image.shape, np.uint8)
    for channel in range(3):  # four times as fast as a copy of the view
        whole[:, :, channel] = plane
    return whole


def _as_8_bit(array: NDArray[np.generic], white_level: int) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return _levels(white_level)[array.astype(np.uint16, copy=False)]
    if array.dtype.kind == "f":
        values = array.astype(np.float32, copy=False)
        # Written so that NaN fails it as well. Resizing overshoots a little.
        if not (values.min() >= -_OVERSHOOT and values.max() <= 1 + _OVERSHOOT):
            raise InputError(
                f"float pixel values from {values.min():.4g} to {values.max():.4g} must lie between 0 and 1;"
                " scale or clip them, or give 8 or 16 bit"
            )
        return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
    if array.dtype.kind in "iu" and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)  # as arithmetic leaves 8-bit images
    if array.dtype.kind in "iu":
        raise InputError(
            f"pixels of type {array.dtype} from {array.min()} to {array.max()} have no known white;"
            " give them as uint8 or uint16"
        )
    raise InputError(f"pixels of type {array.dtype} are not understood; give uint8, uint16, bool or float")


@lru_cache(maxsize=4)
def _levels(white_level: int) -> NDArray[np.uint8]:
    """The 8-bit value of each of the 65536 16-bit values; a table is an order faster than arithmetic."""
    if not 0 < white_level <= WHITE_16_BIT:
        raise InputError(f"white level {white_level}: must be between 1 and {WHITE_16_BIT}")
    values = np.minimum(np.arange(WHITE_16_BIT + 1), white_level)
    return (values * 255 / white_level + 0.5).astype(np.uint8)
