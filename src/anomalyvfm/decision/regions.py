"""Where an anomalous image is odd: its map cut into outlined regions, and how sure their areas are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data.placing import Part
from anomalyvfm.data.roi import Roi, Zone
from anomalyvfm.decision.reason import Box, Reason
from anomalyvfm.errors import InputError

# A backbone sees far beyond a patch: a spot smaller than one raises those around it, too, and around any
# strong defect the map falls off slowly. What is under a share of the region's peak is taken for that halo: a
# large share where the whole region is hardly larger than a spot's halo, a small one where it is wide, for
# wide defects are stronger in some places than in others. Sizes are patches above the small share. Chosen on
# magnetic_tile and drawn parts with benchmarks/outlines.py.
_SHARES = (0.6, 0.15)
_PATCHES = (40.0, 200.0)
# What is nearly as odd as the oddest place of an anomalous image counts with it: of several defects of a
# kind, as on circuit boards, few reach the high threshold, and which is by chance (docs/trials.md).
_NEARLY = 0.8
# Gaps are closed along a line of so many patches, where the map is above a share of the low threshold. On
# magnetic_tile that makes 1.2 regions of a crack of which there were 1.6, at the same precision.
_LINE, _BETWEEN = 2, 0.5
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (2, 1), (1, -2), (2, -1))
# Distances to an outline are exact enough on this many points a patch.
_POINTS = 8

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """A connected part of the image that does not look like any good one, in pixels of the image."""

    bbox: Box
    area: int
    peak: float
    """Largest map value inside, in standard deviations of good pixels."""
    peak_at: tuple[int, int] = (0, 0)
    """x, y of that value."""
    zone: str | None = None
    """The zone of the region of interest in which that value lies."""
    reason: Reason | None = None
    """Why it is odd, where the model can tell."""
    area_range: tuple[int, int] | None = None
    """The area if the true outline lay one patch of the map further in, or further out; None if unknown."""

    def as_dict(self) -> dict[str, Any]:
        reason = {"nearest": None, "layers": None} if self.reason is None else self.reason.as_dict()
        return {
            "bbox": list(self.bbox),
            "area": self.area,
            "area_range": None if self.area_range is None else list(self.area_range),
            "peak": round(self.peak, 4),
            "zone": self.zone,
            **reason,
        }


@dataclass(frozen=True)
class Rules:
    """What a region must be to count: by the model's own numbers, or those of the zone its peak lies in."""

    level: float = 0.0
    """The least peak, in standard deviations of good pixels."""
    area: int = 0
    """The fewest pixels of the image."""
    roi: Roi | None = None

    @property
    def any(self) -> bool:
        return self.level > 0 or self.area > 0 or (self.roi is not None and len(self.roi.zones) > 0)

    def at(self, row: int, column: int, size: tuple[int, int]) -> Zone | None:
        """The zone that a pixel of an image of ``size`` lies in."""
        return None if self.roi is None else self.roi.zone_at(row, column, size)

    def met(self, peak: float, area: int, zone: Zone | None) -> bool:
        """Whether a region whose peak lies in ``zone`` counts."""
        level = self.level if zone is None or zone.level is None else zone.level
        least = self.area if zone is None or zone.area is None else zone.area
        return peak >= level and area >= least


NO_RULES = Rules()


def outlined(
    map_: Map,
    low_threshold: float,
    high_threshold: float,
    patch: tuple[float, float],
    part: Part | None = None,
    size: tuple[int, int] | None = None,
    rules: Rules = NO_RULES,
) -> tuple[Mask, tuple[Region, ...]]:
    """The mask (H, W) of a map (H, W) of an anomalous image, and its 8-connected parts, the oddest first.

    Hysteresis: a region must hold a value above ``high_threshold``, which good images hardly ever reach, and
    extends as far as values above ``low_threshold``, which few good pixels reach, but not into its own halo.
    The oddest place above ``low_threshold`` is one anyhow, and with it those nearly as odd. What lies in a
    row stays whole, as a thin crack does: gaps are closed along several directions. ``rules`` then take out
    what does not count; a zone's level stands in place of ``high_threshold``. ``patch`` is the height and
    width, in pixels of the map, of what the backbone tells apart.

    The map may be that of a ``part`` of an image of ``size``, with all values above ``low_threshold`` and a
    margin of `reach` around them: the regions are then those of the image.
    """
    try:
        from scipy import ndimage
    except ImportError:  # an exported model does without, up to here
        raise InputError("regions and masks need scipy, which is not installed: pip install scipy") from None
    eight = np.ones((3, 3))
    labels, count = ndimage.label(map_ > low_threshold, structure=eight)
    if not count:
        return np.zeros(map_.shape, np.bool_), ()
    inside = labels > 0  # few pixels; scipy's own maximum would sort all of them
    owner, values = labels[inside] - 1, map_[inside]
    peaks = np.full(count, -np.inf, np.float32)
    np.maximum.at(peaks, owner, values)
    kept = peaks > min(high_threshold, _NEARLY * peaks.max())
    kept[peaks.argmax()] = True  # an anomalous image points at its oddest place
    corner = (0, 0) if part is None else (part[0].start, part[1].start)
    whole = size or (map_.shape[0], map_.shape[1])
    if rules.any:
        kept = _by_zone(kept, peaks, _peaks_at(inside, owner, values, corner), whole, rules)
    wide = np.bincount(owner, values > _SHARES[1] * peaks[owner], minlength=count) / (patch[0] * patch[1])
    shares = np.interp(np.log(np.maximum(wide, 1e-6)), np.log(_PATCHES), _SHARES)
    levels = np.where(kept, np.maximum(low_threshold, shares * peaks), np.inf)
    mask = map_ > np.concatenate([[np.inf], levels])[labels]
    mask = _closed(mask, map_, _BETWEEN * low_threshold, patch)
    parts, _ = ndimage.label(mask, structure=eight)
    found = list(_regions(map_, parts, patch, corner, whole, rules))
    if none := [number for number, region in enumerate(found, start=1) if region is None]:
        mask &= ~np.isin(parts, none)
    return mask, tuple(sorted((one for one in found if one is not None), key=lambda one: -one.peak))


def reach(patch: tuple[float, float]) -> tuple[int, int]:
    """Pixels around a region that its range of areas depends on."""
    return math.ceil(patch[0]), math.ceil(patch[1])


def _closed(mask: Mask, map_: Map, level: float, patch: tuple[float, float]) -> Mask:
    """A mask with its gaps along a line closed where the map is above a level: never smaller.

    Morphological closing by a segment (Serra, 1982, "Image Analysis and Mathematical Morphology", ch. 2) in
    each of eight directions, on `_POINTS` points a patch; their union, where it is a quarter of a patch wide.
    """
    from scipy import ndimage

    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return mask
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    down, across = (max(1, int(side / _POINTS)) for side in patch)
    length = [_LINE * side / step for side, step in zip(patch, (down, across), strict=True)]
    points = mask[box][::down, ::across]
    filled = points.copy()
    for y, x in _DIRECTIONS:
        count = round(1 / math.hypot(y / length[0], x / length[1]))
        far_y, far_x = count * y, count * abs(x)
        grown = _along(np.pad(points, ((far_y, far_y), (far_x, far_x))), (y, x), count, np.logical_or)
        shrunk = _along(grown, (-y, -x), count, np.logical_and)
        filled |= shrunk[far_y : far_y + len(points), far_x : far_x + points.shape[1]]
    # A thread from a speck to what lies beside it is nothing that anybody would draw.
    wide = [max(1, round(far / (4 * _LINE))) for far in length]
    filled = points | ndimage.binary_opening(filled, np.ones(wide))
    again = filled.repeat(down, 0).repeat(across, 1)[: len(mask[box]), : mask[box].shape[1]]
    closed = mask.copy()
    closed[box] |= again & (map_[box] > level)
    return closed


def _along(mask: Mask, step: tuple[int, int], count: int, join: np.ufunc) -> Mask:
    """A mask joined with itself moved by one to ``count`` steps, in as few moves as can be."""
    joined, reached = mask, 0
    while reached < count:
        far = min(reached + 1, count - reached)
        moved = np.zeros_like(mask)
        y, x = far * step[0], far * step[1]
        source, target = (
            tuple(slice(max(0, by), side + min(0, by)) for by, side in zip(move, mask.shape, strict=True))
            for move in ((-y, -x), (y, x))
        )
        moved[target] = joined[source]
        joined, reached = join(joined, moved), reached + far
    return joined


def _peaks_at(
    inside: Mask, owner: NDArray[np.int64], values: Map, corner: tuple[int, int]
) -> list[tuple[int, int]]:
    """Row and column, in the image, of the largest value that each owner of the pixels inside has."""
    rows, columns = np.nonzero(inside)
    order = np.lexsort((values, owner))
    last = order[np.flatnonzero(np.diff(owner[order], append=-1))]
    found = zip((rows[last] + corner[0]).tolist(), (columns[last] + corner[1]).tolist(), strict=True)
    return list(found)


def _by_zone(
    kept: Mask, peaks: Map, places: list[tuple[int, int]], size: tuple[int, int], rules: Rules
) -> Mask:
    """Which spots are regions: those that reach their zone's level; where it has none, those kept anyway."""
    zones = (rules.at(row, column, size) for row, column in places)
    own = np.array([np.nan if zone is None or zone.level is None else zone.level for zone in zones])
    by_zone: Mask = np.where(np.isnan(own), kept, peaks >= own)
    return by_zone


def _regions(
    map_: Map,
    labels: NDArray[np.int32],
    patch: tuple[float, float],
    corner: tuple[int, int],
    size: tuple[int, int],
    rules: Rules,
) -> Iterator[Region | None]:
    """Those in a map whose upper left is at ``corner``, y and x, of an image of ``size``.

    None stands for one that does not count.
    """
    from scipy import ndimage

    top, left = corner
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        own = labels[rows, columns] == number
        values = np.where(own, map_[rows, columns], -np.inf)
        y, x = (int(place) for place in np.unravel_index(values.argmax(), values.shape))
        area = int(own.sum())
        at = top + rows.start + y, left + columns.start + x
        zone = rules.at(*at, size)
        if not rules.met(float(values[y, x]), area, zone):
            yield None
            continue
        yield Region(
            bbox=(left + columns.start, top + rows.start, left + columns.stop, top + rows.stop),
            area=area,
            peak=float(values[y, x]),
            peak_at=(at[1], at[0]),
            zone=None if zone is None else zone.name,
            area_range=_area_range(labels, number, (rows, columns), area, patch, math.prod(size)),
        )


def _area_range(
    labels: NDArray[np.int32],
    number: int,
    box: tuple[slice, slice],
    area: int,
    patch: tuple[float, float],
    most: int,
) -> tuple[int, int]:
    """Pixels of a region more than a patch inside its outline, and those no more than a patch outside."""
    from scipy import ndimage

    steps = [max(1, int(side / _POINTS)) for side in patch]
    around = [
        slice(max(0, part.start - far), part.stop + far, step)
        for part, far, step in zip(box, reach(patch), steps, strict=True)
    ]
    own = labels[around[0], around[1]] == number
    if not own.any():  # thinner than the steps between points
        own = labels[around[0].start : around[0].stop, around[1].start : around[1].stop] == number
        steps = [1, 1]
    spacing = [step / side for step, side in zip(steps, patch, strict=True)]
    # Beyond the image's border there is no outline: the region may go on there.
    inner = own if own.all() else ndimage.distance_transform_edt(own, spacing) > 1
    outer = ndimage.distance_transform_edt(~own, spacing) <= 1
    pixels = steps[0] * steps[1]
    low, high = pixels * int(inner.sum()), pixels * int(outer.sum())
    return min(low, area), min(max(high, area), most)
