"""What is said about one image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data.pixels import ImageError
from anomalyvfm.data.placing import InputFrame, Part
from anomalyvfm.data.roi import Roi
from anomalyvfm.data.sources import ImageSource
from anomalyvfm.decision.reason import Reason
from anomalyvfm.decision.regions import Region, Rules, outlined, reach

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
    anomaly_map: NDArray[np.float32] = field(repr=False)
    """(h, w) patch distances in standard deviations of good ones, at the resolution of the patches."""
    size: tuple[int, int]
    """Height and width of the image."""
    frame: InputFrame = field(repr=False)
    low_threshold: float
    high_threshold: float
    seconds: float
    """Its share of the time from file to verdict."""
    summary: NDArray[np.float32] = field(repr=False)
    """(D,) features of the image as a whole."""
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False)
    """(h, w, 3) the image in the frame, where it was asked to be kept."""
    promised: bool = False
    """Whether the threshold keeps its false-alarm rate whatever good images score; else it is an estimate."""
    light: float | None = None
    """What the score would be by the light of the image alone; None where that is not judged."""
    roi: Roi | None = field(default=None, repr=False)
    """The region of interest, outside which nothing is outlined; None where the whole image counts."""
    least: tuple[float, int] = (0.0, 0)
    """The peak and the area in pixels that a region must have to count, where its zone says nothing else."""
    own_thresholds: tuple[float, float] | None = None
    """Low and high threshold by the image's own map; None: those of the model."""
    explain: Explain | None = field(default=None, repr=False)
    """Of an anomalous image, whose features it holds; None where the model gives no reasons."""

    @property
    def odd_light(self) -> bool:
        """Whether the light alone, brightness, contrast or colour of the whole image, makes it anomalous."""
        return self.light is not None and self.light > self.threshold

    @property
    def excused(self) -> bool:
        """Whether it would be anomalous by its score, but no region of it counts."""
        return not self.anomalous and self.score > self.threshold

    def by_regions(self) -> Verdict:
        """This verdict, or that it is good: where there are rules for regions, and none counts by them.

        Rules can only take alarms back, so the false-alarm promise stands. Odd light has no region.
        """
        excused = self.anomalous and self._rules.any and not self.odd_light and not self._outlined[2]
        return replace(self, anomalous=False) if excused else self

    @cached_property
    def map(self) -> NDArray[np.float32]:
        """(H, W) the anomaly map at the image's own resolution; 0 outside the region of interest."""
        return self.map_of(self.size)

    def map_of(self, size: tuple[int, int], part: Part | None = None) -> NDArray[np.float32]:
        """As :meth:`map`, of the image resized to ``size``, or of a part of its rows and columns."""
        map_ = self.frame.restore(self.anomaly_map, size, part)
        if self.roi is not None:
            map_[~self.roi.mask_of(size, part or (slice(None), slice(None)))] = 0
        return map_

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) true where an anomalous image is defective; all false for a good one."""
        whole, (part, mask, _) = np.zeros(self.size, np.bool_), self._outlined
        whole[part] = mask
        return whole

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """The mask's 8-connected parts, the oddest first, each with its reason."""
        found = self._outlined[2]
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
            **({"excused": self.excused} if self._rules.any else {}),
            "promised": self.promised,
            **({} if self.light is None else {"light": round(self.light, 5), "odd_light": self.odd_light}),
            "regions": [region.as_dict() for region in self.regions],
            "ms": round(1000 * self.seconds, 2),
        }

    @cached_property
    def _outlined(self) -> tuple[Part, NDArray[np.bool_], tuple[Region, ...]]:
        """A part of the image outside which nothing is defective, the mask of that part, and the regions."""
        if not self.anomalous:
            return (slice(0), slice(0)), np.zeros((0, 0), np.bool_), ()
        patch = self.frame.patch_size(self.anomaly_map.shape, self.size)
        margin = reach(patch)
        levels = self.own_thresholds or (self.low_threshold, self.high_threshold)
        part = self.frame.part_above(self.anomaly_map, self.size, levels[0], margin)
        map_ = self.map_of(self.size, part)
        return part, *outlined(map_, *levels, patch, part, self.size, self._rules)

    @property
    def _rules(self) -> Rules:
        return Rules(*self.least, self.roi)


def whole(judged: Iterable[tuple[ImageSource, Verdict | ImageError]]) -> list[Verdict]:
    """The verdicts of images that can all be read. Raises the first ImageError there is."""
    verdicts = []
    for _, verdict in judged:
        if isinstance(verdict, ImageError):
            raise verdict
        verdicts.append(verdict)
    return verdicts
