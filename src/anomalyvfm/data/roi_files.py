"""A region of interest as people draw it: a mask in white, or polygons in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from anomalyvfm.data.reading import read_mask
from anomalyvfm.data.roi import Roi
from anomalyvfm.errors import InputError

_Polygon = list[tuple[float, float]]


class _Drawn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: tuple[int, int] = Field(description="width and height of the images it was drawn on")
    polygons: list[_Polygon] = Field(default=[], description="what counts; the whole image if empty")
    ignore: list[_Polygon] = Field(default=[], description="what does not, nevertheless")


def read_roi(roi: Path | None, ignore: Path | None = None) -> Roi:
    """What a mask or polygons mark, less what the mask or the polygons of ``ignore`` mark.

    A mask's pixels count wherever they are not black. JSON holds ``size`` [width, height] and lists of
    polygons, each of corners [x, y] in pixels: ``polygons`` and ``ignore``. Without ``roi`` all counts but
    what is ignored. Raises InputError for what cannot be read, and where nothing remains.
    """
    if roi is None and ignore is None:
        raise InputError("a region of interest: give what counts, or what is to be ignored")
    ignored = None if ignore is None else _marked(ignore)
    if roi is None:
        assert ignored is not None
        region = Roi(np.ones_like(ignored))
    else:
        marked = _marked(roi)
        if not marked.any():
            raise InputError(f"{roi}: marks nothing; draw in white what counts")
        region = Roi(marked)
    return region if ignored is None else region.without(ignored, str(ignore))


def _marked(path: Path) -> NDArray[np.bool_]:
    if path.suffix.lower() != ".json":
        return read_mask(path)
    try:
        drawn = _Drawn.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {_why(error)}") from None
    width, height = drawn.size
    if not (0 < width <= 65535 and 0 < height <= 65535):
        raise InputError(f"{path}: size {width}×{height}; give the images' width and height in pixels")
    for number, polygon in enumerate([*drawn.polygons, *drawn.ignore], start=1):
        if len(polygon) < 3:
            raise InputError(f"{path}: polygon {number} has {len(polygon)} corners; give at least 3")
    counted = _painted(drawn.polygons, (width, height)) if drawn.polygons else np.ones((height, width), bool)
    return counted & ~_painted(drawn.ignore, (width, height))


def _painted(polygons: list[_Polygon], size: tuple[int, int]) -> NDArray[np.bool_]:
    canvas = Image.new("1", size)
    pen = ImageDraw.Draw(canvas)
    for polygon in polygons:
        pen.polygon(polygon, fill=1)
    return np.asarray(canvas, dtype=bool)


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'contents'}: {first['msg']}"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return 'no JSON; give {"size": [width, height], "polygons": [[[x, y], …]]}, or a mask'
    return getattr(error, "strerror", None) or str(error)
