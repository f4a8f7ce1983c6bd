"""A detector against labelled images: what its scores, maps and decisions are worth."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.data import Category, ImageError, Sample, read_mask
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.evaluation.against import difference
from anomalyvfm.evaluation.report import Judged, Report
from anomalyvfm.metrics.pixel import PixelMetrics
from anomalyvfm.metrics.summary import AUPRO_LIMITS, summarise
from anomalyvfm.tracking import Tracker, untracked
from anomalyvfm.visual.overlay import draw
from anomalyvfm.visual.panels import pair, reason_lines

_THUMBNAIL = 160
_EXHIBIT = 110  # pixels of each of its two squares
# Six conditions at a quarter of the bins stay within the memory of the whole; their bounds are in the report.
_CONDITION_BINS = 1 << 18


def evaluate(
    detector: Detector,
    category: Category,
    track: Tracker = untracked,
    against: tuple[str, Detector] | None = None,
) -> Report:
    """Judge the labelled test images of a category and measure.

    Maps are counted at each image's own resolution and not kept. Pixels outside a region of interest are not,
    and an image whose defects all lie there is a good one. ``against`` is another model, with a name, to tell
    the difference to. Raises InputError where there is nothing to test on, or a mask and its image
    differ in size.
    """
    samples = [sample for sample in category.test if sample.label is not None]
    if not samples:
        raise InputError(f"{category.name}: no labelled test images in this layout ({category.layout})")
    everything, by_condition = _Maps(PixelMetrics()), _maps_by_condition(samples)
    images: list[Judged] = []
    skipped: list[str] = []
    outside = 0
    started = time.perf_counter()
    judged = detector.judge([sample.path for sample in samples], keep_pixels=True)
    for sample, (_, verdict) in zip(samples, track(judged, len(samples), "judging"), strict=True):
        if isinstance(verdict, ImageError):
            skipped.append(str(verdict))
            continue
        mask = read_checked_mask(sample, verdict.size)
        if verdict.roi is not None and mask is not None and sample.label:
            mask &= verdict.roi.mask_of(verdict.size)
            if not mask.any():
                sample, mask, outside = replace(sample, label=0, kind="good", mask=None), None, outside + 1
        everything.add(sample, verdict, mask)
        if sample.condition:
            by_condition[sample.condition].add(sample, verdict, mask)
        images.append(_judged(sample, verdict))
    if not images:
        raise InputError(f"none of the {len(samples)} test images could be read; the first: {skipped[0]}")
    seconds = time.perf_counter() - started
    metrics = _measured(images, everything, by_condition)
    return Report(
        {
            "category": category.name,
            "layout": category.layout,
            **metrics,
            "n_skipped": len(skipped),
            "skipped": skipped,
            "n_outside": outside,
            "threshold": detector.calibration_.threshold,
            "fit_s": detector.fit_seconds_,
            "predict_s": seconds,
            "images_per_s": len(images) / seconds,
            "peak_mb": peak_megabytes(),
            "against": None if against is None else difference(images, against[1], against[0], track),
        },
        images,
        everything.pixels.pro_curve(limit=max(AUPRO_LIMITS)),
        everything.pixels.precision_recall_curve(),
        detector.pipeline_.scorer.spread(),
        detector.describe(),
    )


def _measured(images: list[Judged], everything: _Maps, by_condition: dict[str, _Maps]) -> dict[str, Any]:
    metrics = summarise(
        [image.verdict.score for image in images],
        [bool(image.sample.label) for image in images],
        [image.verdict.anomalous for image in images],
        conditions=[image.sample.condition for image in images],
        kinds=[image.sample.kind if image.sample.label else None for image in images],
        pixels=everything.pixels,
        condition_pixels={name: maps.pixels for name, maps in by_condition.items()},
    )
    everything.give_outlines_f1(metrics)
    for name, group in metrics["by_condition"].items():
        by_condition[name].give_outlines_f1(group)
    return metrics


def _maps_by_condition(samples: list[Sample]) -> dict[str, _Maps]:
    conditions = {sample.condition for sample in samples} - {None}
    return {name: _Maps(PixelMetrics(max_bins=_CONDITION_BINS)) for name in conditions if name}


def _judged(sample: Sample, verdict: Verdict) -> Judged:
    exhibit, reason = _exhibited(verdict)
    # A new verdict without the features, and without what the old one has computed at full resolution.
    bare = replace(verdict, pixels=None, explain=None)
    return Judged(sample, bare, _thumbnail(verdict), exhibit, reason)


def read_checked_mask(sample: Sample, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """The mask of a sample, if it has one. Raises InputError where it does not fit an image of ``size``."""
    if sample.mask is None:
        return None
    mask = read_mask(sample.mask)
    if mask.shape != size:
        raise InputError(
            f"{sample.mask}: mask of {mask.shape[0]}×{mask.shape[1]} pixels for an image of"
            f" {size[0]}×{size[1]} ({sample.path}); make them the same size"
        )
    return mask


def _thumbnail(verdict: Verdict) -> bytes:
    """The image with heat and outline as JPEG, made from the frame: the file is not decoded again."""
    assert verdict.pixels is not None
    scale = min(1.0, _THUMBNAIL / max(verdict.size))
    size = (max(1, round(scale * verdict.size[0])), max(1, round(scale * verdict.size[1])))
    channels = [verdict.frame.restore(verdict.pixels[..., i].astype(np.float32), size) for i in range(3)]
    image = np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)
    return _jpeg(draw(image, verdict, _THUMBNAIL))


def _exhibited(verdict: Verdict) -> tuple[bytes | None, str]:
    """The oddest region's picture and reason."""
    if not verdict.regions or verdict.regions[0].reason is None:
        return None, ""
    region = verdict.regions[0]
    return _jpeg(pair(None, verdict, region, _EXHIBIT)), "; ".join(reason_lines(region))


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    stream = BytesIO()
    Image.fromarray(picture).save(stream, format="JPEG", quality=80)
    return stream.getvalue()


@dataclass
class _Maps:
    """Maps counted for the pixel metrics, and pixels outlined and truly defective for the outlines' F1."""

    pixels: PixelMetrics
    both: int = 0
    either: int = 0

    def add(self, sample: Sample, verdict: Verdict, truth: NDArray[np.bool_] | None) -> None:
        counting = None if verdict.roi is None else verdict.roi.mask_of(verdict.size)
        self.pixels.add(verdict.map, truth, anomalous=bool(sample.label), counting=counting)
        self.either += int(verdict.mask.sum())
        if truth is not None:
            self.both += int((verdict.mask & truth).sum())
            self.either += int(truth.sum())

    def give_outlines_f1(self, metrics: dict[str, Any]) -> None:
        """Set ``seg_f1`` to that of the outlines as given out, or its reason to that of the pixel metrics."""
        if self.pixels.undefined_because is None:
            metrics["seg_f1"] = 2 * self.both / self.either
            metrics["reasons"].pop("seg_f1", None)
        else:
            metrics["reasons"]["seg_f1"] = self.pixels.undefined_because


def peak_megabytes() -> float:
    """Largest resident memory this process has had, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
