"""Polygons that people draw in images, and the pixels in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Polygon = Sequence[Sequence[float]]
"""Corners (x, y) in pixels."""


def painted(polygons: Sequence[Polygon], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) the pixels in any of the polygons, of an image of ``size``, width and height."""
    canvas = Image.new("1", size)
    pen = ImageDraw.Draw(canvas)
    for polygon in polygons:
        pen.polygon([(x, y) for x, y in polygon], fill=1)
    return np.asarray(canvas, dtype=bool)
