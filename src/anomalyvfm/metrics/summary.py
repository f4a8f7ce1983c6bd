"""All metrics of a test set as the plain data that metrics.json holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomalyvfm.metrics.image import Metric, best_f1, image_metrics, undefined
from anomalyvfm.metrics.pixel import PixelMetrics

AUPRO_LIMITS = (0.30, 0.05)  # what papers report, and what MVTec AD 2 ranks by


def summarise(
    scores: ArrayLike,
    labels: ArrayLike,
    decisions: ArrayLike,
    *,
    conditions: Sequence[str | None] | None = None,
    kinds: Sequence[str | None] | None = None,
    pixels: PixelMetrics | None = None,
    condition_pixels: Mapping[str, PixelMetrics] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Image and pixel metrics of a test set of N images, ready for JSON.

    Args:
        scores: (N,) image scores, higher is more anomalous.
        labels: (N,) True for defective images.
        decisions: (N,) True where the image was called anomalous at the calibrated threshold.
        conditions: (N,) under which condition each image was taken; None where unknown.
        kinds: (N,) kind of defect; None where unknown and for good images.
        pixels: what collected all score maps; None where there are none.
        condition_pixels: what collected the maps of each condition, where pixel metrics of them are wanted
            too; `pixels` is then these merged, with the maps of images without a condition.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Metrics by name, each a number or None; and by the same names `intervals` (95 %, [low, high], image
        metrics), `bounds` (largest possible error, pixel metrics) and `reasons` (why a metric is
        None). `by_condition` and `by_kind` hold the metrics of each group in the same form:
        a condition's good and defective images, and a kind's defects against all good images.
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(labels, bool)
    found = np.asarray(decisions, bool)
    for name, group in (("conditions", conditions), ("kinds", kinds)):
        if group is not None and len(group) != len(truth):
            raise ValueError(f"{len(group)} {name} for {len(truth)} images")

    def of(members: NDArray[np.bool_], pixel: dict[str, Metric]) -> dict[str, Any]:
        image = image_metrics(values[members], truth[members], found[members], resamples=resamples, seed=seed)
        return {
            **{name: metric.value for name, metric in (image | pixel).items()},
            "n_good": int((members & ~truth).sum()),
            "n_bad": int((members & truth).sum()),
            "intervals": {name: list(metric.interval) for name, metric in image.items() if metric.interval},
            "bounds": {name: metric.bound for name, metric in pixel.items() if metric.value is not None},
            "reasons": {name: metric.reason for name, metric in (image | pixel).items() if metric.reason},
        }

    maps = condition_pixels or {}
    by_condition = {
        name: of(members, _pixel_metrics(maps[name]) if name in maps else {})
        for name, members in _groups(conditions)
    }
    return {
        **of(np.ones(len(truth), bool), _pixel_metrics(pixels)),
        "image_f1_threshold": best_f1(values, truth)[1],
        "seg_f1_best_threshold": pixels.best_f1()[1] if pixels else None,
        "by_condition": by_condition,
        "by_kind": {name: of((members & truth) | ~truth, {}) for name, members in _groups(kinds)},
    }


def _pixel_metrics(pixels: PixelMetrics | None) -> dict[str, Metric]:
    aupro = [f"aupro_{limit:.2f}" for limit in AUPRO_LIMITS]
    if pixels is None:
        names = ["pixel_auroc", "pixel_ap", *aupro, "seg_f1", "seg_f1_best"]
        return dict.fromkeys(names, undefined("no score maps"))
    return {
        "pixel_auroc": pixels.auroc(),
        "pixel_ap": pixels.average_precision(),
        **{name: pixels.aupro(limit) for name, limit in zip(aupro, AUPRO_LIMITS, strict=True)},
        "seg_f1": undefined("outlines are measured apart"),
        "seg_f1_best": pixels.best_f1()[0],
    }


def _groups(names: Sequence[str | None] | None) -> list[tuple[str, NDArray[np.bool_]]]:
    """Each name in alphabetical order with its members (N,); images without a name are in no group."""
    distinct = sorted({name for name in names or [] if name is not None})
    return [(name, np.array([n == name for n in names or []])) for name in distinct]
