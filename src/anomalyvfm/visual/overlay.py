"""A verdict as a picture: the image, the heat over it, the outline of what is wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.decision.verdict import Verdict

# Enough to judge by eye; full-size copies of 5-megapixel images would fill disks and take seconds each.
_LONGEST_SIDE = 1024
# What lies outside the region of interest is shown so many times darker.
_DIMMED = 3
# Dark to light, so that the order of values survives a greyscale print and colour blindness.
_HEAT = np.array([(59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191)], float)
OUTLINE = np.array((0, 255, 255, 255), np.uint8)
_EDGE = np.array((16, 24, 32, 255), np.uint8)


def draw(image: NDArray[np.uint8], verdict: Verdict, longest_side: int = _LONGEST_SIDE) -> NDArray[np.uint8]:
    """(h, w, 3) picture of an image (H, W, 3), no side over ``longest_side`` pixels.

    Heat starts where good pixels seldom reach and is full at twice the level of a defect: its scale is the
    model's, not the image's, so a good image stays clean and pictures can be compared.
    """
    height, width = verdict.size
    scale = min(1.0, longest_side / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    base = image
    if image.shape[:2] != size:
        base = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
    low, high = heat_range(verdict)
    picture = base.copy()
    if verdict.roi is not None:
        outside = ~verdict.roi.mask_of(size)
        picture[outside] //= _DIMMED
    part = verdict.frame.part_above(verdict.anomaly_map, size, low, (0, 0))
    warm, map_ = picture[part], verdict.map_of(size, part)
    hot = map_ > low  # few pixels, and of a good image next to none: only these are blended
    warm[hot] = heated(warm[hot], (map_[hot].astype(float) - low) / (high - low))
    if verdict.mask.any():
        mask = Image.fromarray(verdict.mask).resize(size[::-1], Image.Resampling.NEAREST)
        outline(picture, np.asarray(mask), thickness=max(1, round(max(size) / 300)))
    return picture


def heat_range(verdict: Verdict) -> tuple[float, float]:
    """The map values at which heat starts and is full, in standard deviations of good pixels."""
    return verdict.low_threshold, max(2 * verdict.high_threshold, verdict.low_threshold + 1e-6)


def heated(pixels: NDArray[np.uint8], heat: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Pixels (..., 3) under heat (...), which is full from 1 on."""
    heat = np.minimum(heat, 1)
    alpha = 0.6 * np.sqrt(heat)[..., None]
    return np.asarray((1 - alpha) * pixels + alpha * colour(heat), np.uint8)


def colour(heat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heat (...) from 0 to 1 as colours (..., 3) from 0 to 255."""
    stops = np.linspace(0, 1, len(_HEAT))
    return np.stack([np.interp(heat, stops, _HEAT[:, channel]) for channel in range(3)], axis=-1)


def outline(picture: NDArray[np.uint8], mask: NDArray[np.bool_], thickness: int, closed: bool = True) -> None:
    """Draw the border of a mask (H, W) into a picture (H, W, 3), or (H, W, 4) with alpha.

    A dark edge around it makes it stand out on white as well.
    """
    channels = picture.shape[2]
    picture[border(mask, thickness + max(1, thickness // 2), closed)] = _EDGE[:channels]
    picture[border(mask, thickness, closed)] = OUTLINE[:channels]


def border(mask: NDArray[np.bool_], thickness: int, closed: bool = True) -> NDArray[np.bool_]:
    """Pixels just outside the mask, so that the outline hides nothing of the defect.

    Where the mask reaches the picture's border the outline runs along that, inside; not if ``closed`` is
    false, for a picture that is a part of another.
    """
    from scipy import ndimage

    cross = ndimage.generate_binary_structure(2, 1)
    line = np.asarray(ndimage.binary_dilation(mask, cross, iterations=thickness)) & ~mask
    if closed:
        rim = np.ones_like(mask)
        rim[thickness:-thickness, thickness:-thickness] = False
        line |= rim & mask
    return line
