"""What is said about one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data.sizing import Canvas
from anomalyvfm.errors import InputError
from anomalyvfm.reason import Box, Reason

# A backbone sees far beyond a cell, so around a strong defect the map falls off slowly; what is under this
# share of the region's peak is that halo. Of 0, 0.3 and 0.5 the best pixel F1 on real and drawn parts.
_OUTLINED_SHARE = 0.3


@dataclass(frozen=True)
class Region:
    """A connected part of the image that does not look like any good one, in pixels of the image."""

    bbox: Box
    area: int
    peak: float
    """Largest map value inside, in standard deviations of good pixels."""
    peak_at: tuple[int, int] = (0, 0)
    """x, y of that value."""
    reason: Reason | None = None
    """Why it is odd, where the model can tell."""

    def as_dict(self) -> dict[str, Any]:
        told = {"nearest": None, "layers": None} if self.reason is None else self.reason.as_dict()
        return {"bbox": list(self.bbox), "area": self.area, "peak": round(self.peak, 4), **told}


Explain = Callable[[Sequence[Region], tuple[int, int]], list[Reason]]
"""From regions and their image's (H, W) to the reason of each."""


@dataclass(frozen=True)
class Verdict:
    """Score, p-value, decision, and where; map, mask and regions are computed when first asked for."""

    score: float
    """Standard deviations of good images above the average good image."""
    p_value: float
    """Conformal: the share of good images that look at least as odd."""
    anomalous: bool
    threshold: float
    """The score above which an image is anomalous."""
    grid: NDArray[np.float32] = field(repr=False)
    """(h, w) map at the resolution of the feature grid."""
    size: tuple[int, int]
    """Height and width of the image."""
    canvas: Canvas = field(repr=False)
    outline_level: float
    region_level: float
    seconds: float
    """Its share of the time from file to verdict."""
    summary: NDArray[np.float32] = field(repr=False)
    """(D,) features of the image as a whole."""
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False)
    """(h, w, 3) the image on the canvas, where it was asked to be kept."""
    explain: Explain | None = field(default=None, repr=False)
    """Of an anomalous image, whose features it holds; None where the model gives no reasons."""

    @cached_property
    def map(self) -> NDArray[np.float32]:
        """(H, W) at the image's own resolution, in standard deviations of good pixels."""
        return self.canvas.restore(self.grid, self.size)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) true where an anomalous image is defective; all false for a good one."""
        return self._outlined[0]

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """The mask's 8-connected parts, the oddest first, each with its reason."""
        found = self._outlined[1]
        if self.explain is None or not found:
            return found
        reasons = self.explain(found, self.size)
        return tuple(replace(one, reason=why) for one, why in zip(found, reasons, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """As in a line of ``predictions.jsonl``; ``ms`` is the image's share of its batch's time."""
        return {
            "score": round(self.score, 5),
            "p_value": round(self.p_value, 6),
            "anomalous": self.anomalous,
            "regions": [region.as_dict() for region in self.regions],
            "ms": round(1000 * self.seconds, 2),
        }

    @cached_property
    def _outlined(self) -> tuple[NDArray[np.bool_], tuple[Region, ...]]:
        # Two levels: a region must hold a value that good images hardly ever reach, and then extends as
        # far as values that few good pixels reach. One level would either miss its border or see specks.
        if not self.anomalous or float(self.grid.max()) <= self.outline_level:
            return np.zeros(self.size, np.bool_), ()
        try:
            from scipy import ndimage
        except ImportError:  # an exported model does without, up to here
            raise InputError(
                "regions and masks need scipy, which is not installed: pip install scipy"
            ) from None
        map_ = self.map
        eight = np.ones((3, 3))
        labels, count = ndimage.label(map_ > self.outline_level, structure=eight)
        if not count:
            return np.zeros(self.size, np.bool_), ()
        peaks = np.full(count, -np.inf, np.float32)
        inside = labels > 0  # few pixels; scipy's own maximum would sort all of them
        np.maximum.at(peaks, labels[inside] - 1, map_[inside])
        kept = peaks > self.region_level
        if not kept.any():
            kept[peaks.argmax()] = True  # an anomalous image points at its oddest place
        levels = np.where(kept, np.maximum(self.outline_level, _OUTLINED_SHARE * peaks), np.inf)
        mask = map_ > np.concatenate([[np.inf], levels])[labels]
        labels, count = ndimage.label(mask, structure=eight)
        regions = []
        for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
            own = labels[rows, columns] == number
            values = np.where(own, map_[rows, columns], -np.inf)
            y, x = np.unravel_index(values.argmax(), values.shape)
            regions.append(
                Region(
                    bbox=(columns.start, rows.start, columns.stop, rows.stop),
                    area=int(own.sum()),
                    peak=float(values[y, x]),
                    peak_at=(columns.start + int(x), rows.start + int(y)),
                )
            )
        return mask, tuple(sorted(regions, key=lambda region: -region.peak))
