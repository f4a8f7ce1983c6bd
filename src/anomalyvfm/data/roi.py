"""The region of interest: which pixels of an image count. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data.pixels import ImageError, plane_of, thrice
from anomalyvfm.data.placing import InputFrame, Part, bilinear
from anomalyvfm.errors import InputError

Mask = NDArray[np.bool_]
Places = TypeVar("Places", int, NDArray[np.int64])

# Of a patch at least so much must count: it is then judged.
_LEAST_OF_PATCH = 0.25
# Two images have the same shape if their sides' ratios differ by less: cameras' binning drops a row.
_SAME_SHAPE = 0.02
# No camera has more; a broken file may say so.
_MOST_PIXELS = 2**30


@dataclass(frozen=True, eq=False)
class Zone:
    """A named part of an image, ``mask`` (H, W), with rules of its own for what counts there.

    ``level`` is the map value a region's peak must reach, in standard deviations of good pixels, in place of
    the model's; ``area`` the pixels it must have at least. None: as elsewhere.
    """

    name: str
    mask: Mask
    level: float | None = None
    area: int | None = None


@dataclass(frozen=True, eq=False)
class Roi:
    """Which pixels count, ``mask`` (H, W), in the coordinates of images of its size.

    Images of another size and the same shape have it at the same places, in proportion. Nothing that lies
    outside can reach a score: of the frame only those pixels are seen that no outside pixel had a part in,
    and the others are uniform.
    """

    mask: Mask
    zones: tuple[Zone, ...] = ()
    """Where two overlap, the first of them has it."""

    def __post_init__(self) -> None:
        if self.mask.ndim != 2 or not self.mask.any():
            raise InputError("the region of interest holds no pixel: mark what counts in white")
        for zone in self.zones:
            if zone.mask.shape != self.mask.shape:
                raise InputError(
                    f"zone {zone.name}: {_sides(zone.mask.shape)} pixels, the region {_sides(self.size)}"
                )
            if not (zone.mask & self.mask).any():
                raise InputError(f"zone {zone.name}: lies where nothing counts; draw it inside the region")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images it was drawn for."""
        return self.mask.shape[0], self.mask.shape[1]

    def without(self, ignored: Mask, name: str) -> Roi:
        """Less what a mask marks. Raises InputError for one of another size, or if nothing remains."""
        if ignored.shape != self.mask.shape:
            raise InputError(f"{name}: {_sides(ignored.shape)} pixels, the region {_sides(self.size)}")
        if not (self.mask & ~ignored).any():
            raise InputError(f"{name}: covers all that counts; nothing would be left to judge")
        return Roi(self.mask & ~ignored, self.zones)

    def require_fit(self, sizes: Iterable[tuple[int, int]]) -> None:
        """Raise InputError where images of other shapes than its own are among those of ``sizes``."""
        for size in sizes:
            if not self._same_shape(size):
                raise InputError(
                    f"the region of interest is {_sides(self.size)} pixels, an image {_sides(size)}:"
                    " draw it on one of the images"
                )

    def require_fit_of(self, size: tuple[int, int], frame: InputFrame, name: str) -> None:
        """Raise ImageError where an image of ``size`` has another shape, unless it is the frame's own."""
        if not self._same_shape(size) and size != (frame.height, frame.width):
            raise ImageError(
                f"{name}: {_sides(size)} pixels, and the model's region of interest is of images of"
                f" {_sides(self.size)}; give images of that shape"
            )

    def in_frame(self, frame: InputFrame) -> Mask:
        """(height, width) the frame's pixels in which no pixel outside has a part."""
        outside = (~self.mask).astype(np.float32)
        top, left, height, width = frame.window(self.size)
        down, across = (
            (bilinear(here, there, 0, here) > 0).astype(np.float32)
            for here, there in zip(self.size, (height, width), strict=True)
        )
        inside = (down @ outside @ across.T) < 0.5
        around = ((top, frame.height - height - top), (left, frame.width - width - left))
        return np.pad(inside, around, mode="edge")

    def on_grid(self, frame: InputFrame, shape: tuple[int, int]) -> Mask:
        """(h, w) the patches of a grid over the frame that count.

        Raises InputError where there are none.
        """
        inside = self.in_frame(frame).astype(np.float32)
        down, across = (_shares(side, count) for side, count in zip(inside.shape, shape, strict=True))
        counting: Mask = down @ inside @ across.T >= _LEAST_OF_PATCH
        if not counting.any():
            raise InputError(
                f"the region of interest leaves no patch of {shape[0]}×{shape[1]}: it is smaller than what"
                " the backbone tells apart; mark more, or give a larger --image-size"
            )
        return counting

    def mask_of(self, size: tuple[int, int], part: Part = (slice(None), slice(None))) -> Mask:
        """The mask of an image of ``size``, or of a part of it."""
        rows, columns = (
            self._own(np.arange(there)[wanted], axis, there)
            for axis, (there, wanted) in enumerate(zip(size, part, strict=True))
        )
        return self.mask[np.ix_(rows, columns)]

    def zone_at(self, row: int, column: int, size: tuple[int, int]) -> Zone | None:
        """The zone in which a pixel of an image of ``size`` lies."""
        y, x = self._own(row, 0, size[0]), self._own(column, 1, size[1])
        return next((zone for zone in self.zones if zone.mask[y, x]), None)

    def describe(self) -> dict[str, Any]:
        """What files say of it: size as width and height, the share that counts, its runs and its zones.

        Runs tell, row after row, how many pixels do not count, then how many do, and so on.
        """
        zones = [
            {"name": zone.name, "level": zone.level, "area": zone.area, "runs": _runs(zone.mask)}
            for zone in self.zones
        ]
        return {
            "size": [self.size[1], self.size[0]],
            "share": round(float(self.mask.mean()), 4),
            "runs": _runs(self.mask),
            **({"zones": zones} if zones else {}),
        }

    @classmethod
    def stored(cls, description: Mapping[str, Any]) -> Roi:
        """The inverse of :meth:`describe`. Raises InputError where the runs are not those of its size."""
        width, height = description["size"]
        zones = [
            Zone(one["name"], _mask_of(one["runs"], (height, width)), one["level"], one["area"])
            for one in description.get("zones", ())
        ]
        return cls(_mask_of(description["runs"], (height, width)), tuple(zones))

    def _own(self, places: Places, axis: int, length: int) -> Places:
        """Its own rows or columns in which those of an image of another ``length`` have their middle."""
        return ((2 * places + 1) * self.size[axis]) // (2 * length)

    def _same_shape(self, size: tuple[int, int]) -> bool:
        ratio = size[0] * self.size[1] / (size[1] * self.size[0])
        return abs(ratio - 1) < _SAME_SHAPE


def filled(pixels: NDArray[np.uint8], inside: Mask | None, value: int) -> NDArray[np.uint8]:
    """An image (H, W, 3) that has one value outside; as it is where everything counts."""
    if inside is None:
        return pixels
    plane = plane_of(pixels)
    changed = np.where(inside if plane.ndim == 2 else inside[..., None], plane, np.uint8(value))
    return changed if plane.ndim == 3 else thrice(changed)


def _runs(mask: Mask) -> list[int]:
    flat = mask.ravel()
    starts = np.flatnonzero(np.diff(flat)) + 1
    runs: list[int] = np.diff([0, *starts, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def _mask_of(runs: Sequence[int], size: tuple[int, int]) -> Mask:
    if sum(runs) != size[0] * size[1] or min(runs) < 0 or sum(runs) > _MOST_PIXELS:
        raise InputError("the region of interest of this model is broken; fit it anew")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size)


def _shares(length: int, count: int) -> NDArray[np.float32]:
    """(count, length) the share of each of ``count`` equal parts that each of ``length`` pixels takes up."""
    edges = np.linspace(0, length, count + 1)
    pixels = np.arange(length)
    upper = np.minimum(edges[1:, None], pixels + 1)
    lower = np.maximum(edges[:-1, None], pixels)
    shares: NDArray[np.float32] = (np.maximum(upper - lower, 0) * count / length).astype(np.float32)
    return shares


def _sides(size: Sequence[int]) -> str:
    """As cameras are described: width first."""
    return f"{size[1]}×{size[0]}"
