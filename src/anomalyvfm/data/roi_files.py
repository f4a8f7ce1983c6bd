"""A region of interest as people draw it: a mask in white, or polygons in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from anomalyvfm.data.polygons import painted
from anomalyvfm.data.reading import read_mask
from anomalyvfm.data.roi import Roi, Zone
from anomalyvfm.errors import InputError

_Polygon = list[tuple[float, float]]


class _Zone(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f\x7f]+$")
    polygons: list[_Polygon] = Field(min_length=1)
    level: float | None = Field(None, ge=0, description="what a region's peak must reach there")
    area: int | None = Field(None, ge=0, description="pixels a region must have there")


class _Drawn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: tuple[int, int] = Field(description="width and height of the images it was drawn on")
    polygons: list[_Polygon] = Field(default=[], description="what counts; the whole image if empty")
    ignore: list[_Polygon] = Field(default=[], description="what does not, nevertheless")
    zones: list[_Zone] = Field(default=[], max_length=100, description="parts with rules of their own")


def read_roi(roi: Path | None, ignore: Path | None = None) -> Roi:
    """What a mask or polygons mark, less what the mask or the polygons of ``ignore`` mark.

    A mask's pixels count wherever they are not black. JSON holds ``size`` [width, height] and lists of
    polygons, each of corners [x, y] in pixels: ``polygons`` and ``ignore``; and ``zones``, each of a
    ``name``, ``polygons``, ``level`` and ``area``. Without ``roi`` all counts but what is ignored. Raises
    InputError for what cannot be read, and where nothing remains.
    """
    if roi is None and ignore is None:
        raise InputError("a region of interest: give what counts, or what is to be ignored")
    if ignore is None:
        assert roi is not None
        return _read(roi)
    ignored = _read(ignore)
    if ignored.zones:
        raise InputError(f"{ignore}: zones say what counts, so they go in --roi")
    region = Roi(np.ones_like(ignored.mask)) if roi is None else _read(roi)
    return region.without(ignored.mask, str(ignore))


def _read(path: Path) -> Roi:
    if path.suffix.lower() == ".json":
        return _drawn(path)
    mask = read_mask(path)
    if not mask.any():
        raise InputError(f"{path}: marks nothing, all of it is black; draw in white what it is to mark")
    return Roi(mask)


def _drawn(path: Path) -> Roi:
    try:
        drawn = _Drawn.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {_why(error)}") from None
    width, height = drawn.size
    if not (0 < width <= 65535 and 0 < height <= 65535):
        raise InputError(f"{path}: size {width}×{height}; give the images' width and height in pixels")
    in_zones = [polygon for zone in drawn.zones for polygon in zone.polygons]
    for number, polygon in enumerate([*drawn.polygons, *drawn.ignore, *in_zones], start=1):
        if len(polygon) < 3:
            raise InputError(f"{path}: polygon {number} has {len(polygon)} corners; give at least 3")
    names = [zone.name for zone in drawn.zones]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{path}: two zones are named {twice.pop()}; give each a name of its own")
    zones = tuple(
        Zone(zone.name, painted(zone.polygons, (width, height)), zone.level, zone.area)
        for zone in drawn.zones
    )
    counted = painted(drawn.polygons, (width, height)) if drawn.polygons else np.ones((height, width), bool)
    mask = counted & ~painted(drawn.ignore, (width, height))
    if not mask.any():
        raise InputError(f"{path}: marks nothing within {width}×{height} pixels; draw what counts")
    try:
        return Roi(mask, zones)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'contents'}: {first['msg']}"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return 'no JSON; give {"size": [width, height], "polygons": [[[x, y], …]]}, or a mask'
    return getattr(error, "strerror", None) or str(error)
