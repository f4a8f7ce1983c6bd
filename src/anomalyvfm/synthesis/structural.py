"""Structural defects: a shape of one colour where none belongs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomalyvfm.synthesis.patch import (
    Image8,
    Mask,
    changed,
    check_image,
    check_severity,
    draw_patch,
    scale_of,
)

KINDS = ("circle", "rectangle", "line", "polygon")

_THICKNESS = (3.0, 12.0)  # of a line, px in an image of the reference size
_VERTICES = (5, 9)
# A shape of nearly the material's own colour teaches nothing.
_LEAST_CONTRAST = 40.0


def structural(
    image: Image8, rng: np.random.Generator, severity: float = 1.0, kinds: Sequence[str] = KINDS[:3]
) -> tuple[Image8, Mask]:
    """A copy of (H, W, C) with a filled shape or a line, and its mask (H, W).

    `severity` in (0, 1] is the shape's opacity. One of `kinds` is drawn. The colour is at least 40 grey
    levels, on average over the channels, from what it covers, and grey in a grey image. Raises InputError
    for an image too small for a patch.
    """
    check_image(image)
    check_severity(severity)
    size = (image.shape[0], image.shape[1])
    patch = draw_patch(size, rng)
    kind = kinds[int(rng.integers(len(kinds)))]
    shape = _shape(kind, patch.height, patch.width, scale_of(size), rng)
    defective = image.copy()
    covered = defective[patch.window]  # a view
    old = covered[shape].astype(np.float32)  # (n, C)
    grey = bool((image == image[..., :1]).all())
    colour = _colour(old.mean(axis=0), grey, rng)
    covered[shape] = np.rint(old + severity * (colour - old)).astype(np.uint8)
    return defective, changed(image, defective)


def _shape(kind: str, height: int, width: int, scale: float, rng: np.random.Generator) -> Mask:
    """(height, width): the pixels of one shape that fits there; at least one."""
    if kind == "rectangle":
        return np.ones((height, width), np.bool_)
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    if kind == "circle":
        radius = min(height, width) / 2
        inside: Mask = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2) <= radius
        return inside
    if kind == "line":
        # From one side of the patch to the opposite one, the way it is longer.
        ends = rng.uniform(0, min(height, width) - 1, size=2)
        along, across = (columns, rows) if width >= height else (rows, columns)
        length = max(height, width) - 1
        slope = (ends[1] - ends[0]) / length
        thickness = max(1.0, rng.uniform(*_THICKNESS) * scale)
        near: Mask = np.abs(across - ends[0] - slope * along) <= thickness / 2 * np.hypot(1, slope)
        return near
    return _polygon(rows, columns, height, width, rng)


def _polygon(
    rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    columns: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    height: int,
    width: int,
    rng: np.random.Generator,
) -> Mask:
    """A star-shaped polygon around the patch's centre, of 5 to 9 corners at uneven angles and distances."""
    corners = int(rng.integers(_VERTICES[0], _VERTICES[1] + 1))
    # One corner to each sector keeps the centre inside, whatever is drawn.
    angles = (np.arange(corners) + rng.uniform(0, 0.8, corners)) * 2 * np.pi / corners
    radii = rng.uniform(0.4, 1.0, corners)
    y, x = radii * np.sin(angles), radii * np.cos(angles)
    down = (rows - (height - 1) / 2) / max((height - 1) / 2, 0.5)
    across = (columns - (width - 1) / 2) / max((width - 1) / 2, 0.5)
    inside = np.zeros(rows.shape, np.bool_)
    for i in range(corners):
        j = (i + 1) % corners
        # The triangle of the centre and one edge: on the inner side of all three of its sides.
        first = x[i] * down - y[i] * across >= 0
        second = across * y[j] - down * x[j] >= 0
        third = (x[j] - x[i]) * (down - y[i]) - (y[j] - y[i]) * (across - x[i]) >= 0
        inside |= first & second & third
    # In a patch of even sides the centre falls between pixels; some pixel must be painted.
    inside[height // 2, width // 2] = True
    return inside


def _colour(
    covered: np.ndarray[tuple[int, ...], np.dtype[np.float32]], grey: bool, rng: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """A colour (C,) away from the mean colour (C,) covered. Half of all draws at least will do."""
    while True:
        colour = rng.integers(0, 256, size=1 if grey else len(covered)).astype(np.float32)
        if np.abs(colour - covered).mean() >= _LEAST_CONTRAST:
            return np.broadcast_to(colour, covered.shape)
