"""Pixel metrics of a stream of score maps: AUROC, AP, AU-PRO and F1 over all images at once.

All of them follow from two counts: how many anomaly-free pixels, and how many defect pixels (and with
which region weights), have each score. `ScoreHistogram` keeps those in fixed memory, so maps are seen
once and not held. Where it had to give up resolution, scores in one bin are ordered unknown to us; the
value treats them as ties, and every metric's `bound` says how far any order of them could move it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anomalyvfm.errors import InputError
from anomalyvfm.metrics.histogram import ScoreHistogram, all_finite, keys_of, scores_of
from anomalyvfm.metrics.image import Metric, undefined
from anomalyvfm.metrics.sweep import FloatArray, Sweep, area_up_to, f1_score, from_origin

Curve = tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class _Pixels:
    """A sweep with two points a bin that holds defects, above it and with it, and one at the very end.

    Between such bins only anomaly-free pixels pass, so no metric needs a point there.
    """

    sweep: Sweep  # T = 2 * bins + 1
    pro: FloatArray  # (T,) mean over regions of the share detected
    dropped_bits: int


class PixelMetrics:
    """Collects maps one by one, then answers. Scores are compared as float32.

    Images count by their kind of fault too: where a defective image has no usable mask or a map holds NaN,
    every pixel metric is None with that reason, since leaving the image out would flatter the result.
    """

    def __init__(self, *, max_bins: int = 1 << 20) -> None:
        self._normal = ScoreHistogram(max_bins=max_bins)
        self._defect = ScoreHistogram(weighted=True, max_bins=max_bins)
        self._regions = 0
        self._images: Counter[str] = Counter()
        self._lowest, self._highest = np.inf, -np.inf
        self._ready: _Pixels | None = None

    def add(
        self,
        map_: NDArray[Any],
        mask: NDArray[Any] | None,
        *,
        anomalous: bool,
        counting: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count one image.

        Args:
            map_: (H, W) anomaly scores, higher is more anomalous.
            mask: (H, W), nonzero on defects; None for a good image, or where a defective one has none.
            anomalous: the image's label.
            counting: (H, W), the pixels that are looked at; None for all.

        Raises:
            InputError: map and mask differ in shape, or the map is not two-dimensional.
        """
        if map_.ndim != 2 or (mask is not None and mask.shape != map_.shape):
            raise InputError(
                f"score map of shape {map_.shape} with a mask of shape "
                f"{None if mask is None else mask.shape}: both must be (H, W) of one size; resize the map"
            )
        self._ready = None
        self._images["bad" if anomalous else "good"] += 1
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and is reported as such
            keys = keys_of(np.ascontiguousarray(map_, np.float32))
        if not all_finite(keys):
            self._images["not finite"] += 1
            return
        self._lowest = min(self._lowest, float(keys.min(initial=np.iinfo(keys.dtype).max)))
        self._highest = max(self._highest, float(keys.max(initial=np.iinfo(keys.dtype).min)))
        defect = None if mask is None else mask.astype(bool, copy=False)
        if counting is not None:
            defect = None if defect is None else defect & counting
        if defect is None or not defect.any():
            if anomalous:
                self._images["no mask" if defect is None else "empty mask"] += 1
            self._normal.add(keys.ravel() if counting is None else keys[counting])
            return
        if not anomalous:
            self._images["masked good"] += 1
        weights, regions = region_weights(defect)
        self._regions += regions
        self._defect.add(keys[defect], weights)
        self._normal.add(keys[~defect] if counting is None else keys[~defect & counting])

    def merge(self, other: PixelMetrics) -> PixelMetrics:
        """Count all that `other` counted as well; the order of merging does not matter. Returns self."""
        self._ready = None
        self._normal.merge(other._normal)
        self._defect.merge(other._defect)
        self._regions += other._regions
        self._lowest = min(self._lowest, other._lowest)
        self._highest = max(self._highest, other._highest)
        self._images.update(other._images)
        return self

    @property
    def undefined_because(self) -> str | None:
        """Why no pixel metric is defined, or None where they are."""
        n = self._images
        images = n["good"] + n["bad"]
        faults = [
            (images == 0, "no images"),
            (n["not finite"], f"{n['not finite']} of {images} score maps hold NaN or infinite values"),
            (n["masked good"], f"{n['masked good']} of {n['good']} good images have a mask with defects"),
            (n["bad"] == 0, "no defective images"),
            (n["no mask"] == n["bad"], "no masks"),
            (n["no mask"], f"{n['no mask']} of {n['bad']} defective images have no mask"),
            (n["empty mask"], f"{n['empty mask']} of {n['bad']} defective images have an empty mask"),
            (self._normal.total == 0, "no anomaly-free pixels: the masks cover every image entirely"),
            (self._lowest == self._highest, "the maps are constant: all pixels have one score"),
        ]
        return next((reason for fault, reason in faults if fault), None)

    def auroc(self) -> Metric:
        """Area under the pixel ROC curve."""
        if reason := self.undefined_because:
            return undefined(reason)
        pixels = self._pixels()
        x, y = pixels.sweep.roc()
        return Metric(float(pixels.sweep.auroc()), bound=_area_bound(pixels, x, y, 1.0))

    def average_precision(self) -> Metric:
        """Pixel average precision."""
        if reason := self.undefined_because:
            return undefined(reason)
        pixels = self._pixels()
        sweep = pixels.sweep
        value, bound = float(sweep.average_precision()), 0.0
        if pixels.dropped_bits:
            above, within = sweep.tp[0:-1:2], sweep.tp[1:-1:2]
            gained = (within - above) / sweep.tp[-1]
            # A defect pixel inside a bin has at best all of the bin's defects with it and none of its
            # anomaly-free pixels, at worst the reverse.
            best = float((gained * within / (within + sweep.fp[0:-1:2])).sum())
            worst = float((gained * (above + 1) / (above + 1 + sweep.fp[1:-1:2])).sum())
            bound = max(best - value, value - worst)
        return Metric(value, bound=bound)

    def aupro(self, limit: float) -> Metric:
        """Area under PRO(FPR) from 0 to `limit`, divided by it (Bergmann et al., IJCV 2021).

        PRO is the mean over all 8-connected defect regions of the share that is detected, FPR the share of
        all anomaly-free pixels of all images that is. 0 < limit <= 1.
        """
        if not 0 < limit <= 1:
            raise InputError(f"AU-PRO limit is {limit}; it is a false-positive rate in (0, 1]")
        if reason := self.undefined_because:
            return undefined(reason)
        pixels = self._pixels()
        fpr = pixels.sweep.fp / pixels.sweep.fp[-1]
        value = area_up_to(limit, fpr, pixels.pro) / limit
        bound = _area_bound(pixels, from_origin(fpr), from_origin(pixels.pro), limit) / limit
        return Metric(value, bound=bound)

    def best_f1(self) -> tuple[Metric, float | None]:
        """The best F1 any one threshold reaches, and the highest such threshold."""
        if reason := self.undefined_because:
            return undefined(reason), None
        pixels = self._pixels()
        sweep = pixels.sweep
        at = sweep.best_threshold()
        value, bound = float(sweep.f1()[at]), 0.0
        if pixels.dropped_bits:
            within, fp_above = sweep.tp[1:-1:2], sweep.fp[0:-1:2]
            bound = float(f1_score(within, fp_above, sweep.tp[-1]).max()) - value
        return Metric(value, bound=bound), float(sweep.thresholds[at])

    def precision_recall_curve(self, points: int = 400) -> Curve | None:
        """(recall, precision), thinned; None where undefined."""
        if self.undefined_because:
            return None
        recall, precision = self._pixels().sweep.precision_recall()
        return _thinned(recall, precision, points)

    def pro_curve(self, limit: float = 1.0, points: int = 400) -> Curve | None:
        """(false-positive rate, PRO) up to `limit`, thinned; None where undefined."""
        if self.undefined_because:
            return None
        pixels = self._pixels()
        fpr, pro = from_origin(pixels.sweep.fp / pixels.sweep.fp[-1]), from_origin(pixels.pro)
        # One point past the limit, so that a plot cut there shows the line up to its edge.
        kept = slice(int(np.searchsorted(fpr, limit, side="right")) + 1)
        return _thinned(fpr[kept], pro[kept], points)

    def _pixels(self) -> _Pixels:
        if self._ready is not None:
            return self._ready
        self._normal.bins()  # counts what waits, which may drop bits: both must have lost the same
        self._defect.coarsen(self._normal.dropped_bits)
        defect = self._defect.bins()
        bits = self._defect.dropped_bits
        self._normal.coarsen(bits)
        normal = self._normal.bins()
        assert defect.weights is not None
        at = np.searchsorted(normal.keys, defect.keys)
        tied = normal.keys[np.minimum(at, len(normal.keys) - 1)] == defect.keys
        below = np.concatenate([[0], normal.counts])  # anomaly-free pixels below the n-th bin
        fp = np.full(2 * len(at) + 1, below[-1])
        fp[0:-1:2] -= below[at + tied][::-1]
        fp[1:-1:2] -= below[at][::-1]
        edges = defect.keys[::-1] << bits
        pro = _before_and_after(_from_above(defect.weights) / self._regions)
        thresholds = np.empty(len(fp))
        thresholds[0:-1:2] = scores_of(edges + np.int32(1 << bits))
        thresholds[1:-1:2] = scores_of(edges)
        thresholds[-1] = -np.inf
        tp = _before_and_after(_from_above(defect.counts))
        self._ready = _Pixels(Sweep(thresholds, tp, fp), pro, bits)
        return self._ready


def _from_above(upto: NDArray[Any]) -> NDArray[Any]:
    """Sums at or below each of (n,) rising bins → sums at or above each, from the highest bin down."""
    sums: NDArray[Any] = upto[-1] - np.append(upto[-2::-1], 0)
    return sums


def _before_and_after(sums: NDArray[Any]) -> NDArray[Any]:
    """Sums (n,) with each of n bins → (2n + 1,): before and with each bin, and at the end."""
    return np.concatenate([[0], np.repeat(sums, 2)])


def _area_bound(pixels: _Pixels, x: FloatArray, y: FloatArray, limit: float) -> float:
    """How far the order of scores inside bins can move the area under the curve up to x = `limit`.

    A bin is a straight piece of the curve; whatever its order, the true curve stays in the rectangle around
    it: off by at most half of it, or by all of it where the limit cuts the piece.
    """
    if not pixels.dropped_bits:
        return 0.0
    width = np.diff(np.minimum(x, limit))
    share = np.where(x[1:] > limit, 1.0, 0.5)
    return float((share * width * np.diff(y)).sum())


def _thinned(x: FloatArray, y: FloatArray, points: int) -> Curve:
    """At most `points` of a curve's own points, evenly spread along its length, both ends kept."""
    if len(x) <= points:
        return x, y
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) / (x[-1] or 1) + np.abs(np.diff(y)))])
    kept = np.unique(np.searchsorted(length, np.linspace(0, length[-1], points)))
    kept = np.unique(np.concatenate([[0], np.minimum(kept, len(x) - 1), [len(x) - 1]]))
    return x[kept], y[kept]


_EIGHT_NEIGHBOURS = np.ones((3, 3), int)


def region_weights(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], int]:
    """Weight of each defect pixel, and the number of 8-connected regions.

    Args:
        mask: (H, W), True on defects.

    Returns:
        weights (P,), one for each True pixel in row order: 1 / area of its region, so that a region's
        weights sum to 1; and the number of regions.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.empty(0), 0
    # Labelling costs far more than the rest and defects are small: label only the box around them.
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    labels, count = ndimage.label(box, structure=_EIGHT_NEIGHBOURS)
    region = labels[box]
    return 1.0 / np.bincount(region)[region], int(count)
