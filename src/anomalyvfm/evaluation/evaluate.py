"""A detector against labelled images: what its scores, maps and decisions are worth."""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.data import Category, ImageError, Sample, read_mask
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.files import new_folder
from anomalyvfm.metrics.pixel import Curve, PixelMetrics
from anomalyvfm.metrics.summary import AUPRO_LIMITS, summarise
from anomalyvfm.tracking import Tracker, untracked
from anomalyvfm.visual.overlay import draw
from anomalyvfm.visual.panels import pair, told_in_lines

_THUMBNAIL = 160
_EXHIBIT = 110  # pixels of each of its two squares
# Six conditions at a quarter of the bins stay within the memory of the whole; their bounds are in the report.
_CONDITION_BINS = 1 << 18


@dataclass(frozen=True)
class Judged:
    """One test image and what was said about it; nothing at the image's own resolution is kept."""

    sample: Sample
    verdict: Verdict
    thumbnail: bytes
    """JPEG of the image with heat and outline, no side over 160 pixels."""
    exhibit: bytes | None = None
    """JPEG of its oddest region beside the good patch most like it, where the model can tell."""
    reason: str = ""
    """That region's reason in words."""

    @property
    def score(self) -> float:
        return self.verdict.score

    @property
    def p_value(self) -> float:
        return self.verdict.p_value

    @property
    def anomalous(self) -> bool:
        return self.verdict.anomalous


@dataclass(frozen=True)
class Learned:
    """What a detector knows of good images, small enough to draw."""

    spectrum: NDArray[np.float64]
    """(D,) eigenvalues of the covariance within cells, pooled over them; falling."""
    spread: NDArray[np.float64]
    """(h, w) standard deviation of each cell's features, 1 in the average cell."""


@dataclass(frozen=True)
class Report:
    """All that an evaluation found: ``metrics`` as in metrics.json, every image's outcome, what figures need.

    ``pro_curve`` (false-positive rate, PRO) reaches to a rate of 0.30; it and ``pixel_pr_curve`` (recall,
    precision) are None where the data defines no pixel metrics. ``learned`` is None where the model has
    seen too few images for a spread. ``model`` is :meth:`Detector.describe`.
    """

    metrics: dict[str, Any]
    images: list[Judged]
    pro_curve: Curve | None
    pixel_pr_curve: Curve | None
    learned: Learned | None
    model: dict[str, Any]

    def save(self, out: Path, overwrite: bool = False) -> None:
        """Write metrics.json, the figures, the summary and the page to a new folder, whole or not at all."""
        from anomalyvfm.evaluation.reports import write_report  # the one place that needs matplotlib

        with new_folder(out, overwrite) as folder:
            text = json.dumps(self.metrics, indent=2, allow_nan=False)
            (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
            write_report(self, folder)


def evaluate(detector: Detector, category: Category, track: Tracker = untracked) -> Report:
    """Judge the labelled test images of a category and measure.

    Maps are counted at each image's own resolution and not kept. Raises InputError where there is nothing
    to test on, or a mask and its image differ in size.
    """
    samples = [sample for sample in category.test if sample.label is not None]
    if not samples:
        raise InputError(f"{category.name}: no labelled test images in this layout ({category.layout})")
    everything = _Maps(PixelMetrics())
    conditions = {sample.condition for sample in samples} - {None}
    by_condition = {name: _Maps(PixelMetrics(max_bins=_CONDITION_BINS)) for name in conditions if name}
    images: list[Judged] = []
    skipped: list[str] = []
    started = time.perf_counter()
    judged = detector.judge([sample.path for sample in samples], keep_pixels=True)
    for sample, (_, verdict) in zip(samples, track(judged, len(samples), "judging"), strict=True):
        if isinstance(verdict, ImageError):
            skipped.append(str(verdict))
            continue
        mask = read_checked_mask(sample, verdict.size)
        everything.add(sample, verdict, mask)
        if sample.condition:
            by_condition[sample.condition].add(sample, verdict, mask)
        exhibit, reason = _exhibited(verdict)
        # A new verdict without the features, and without what the old one has computed at full resolution.
        bare = replace(verdict, pixels=None, explain=None)
        images.append(Judged(sample, bare, _thumbnail(verdict), exhibit, reason))
    if not images:
        raise InputError(f"none of the {len(samples)} test images could be read; the first: {skipped[0]}")
    seconds = time.perf_counter() - started
    metrics = summarise(
        [image.score for image in images],
        [bool(image.sample.label) for image in images],
        [image.anomalous for image in images],
        conditions=[image.sample.condition for image in images],
        kinds=[image.sample.kind if image.sample.label else None for image in images],
        pixels=everything.pixels,
        condition_pixels={name: maps.pixels for name, maps in by_condition.items()},
    )
    everything.give_outlines_f1(metrics)
    for name, group in metrics["by_condition"].items():
        by_condition[name].give_outlines_f1(group)
    return Report(
        {
            "category": category.name,
            "layout": category.layout,
            **metrics,
            "n_skipped": len(skipped),
            "skipped": skipped,
            "threshold": detector.calibration_.threshold,
            "fit_s": detector.fit_seconds_,
            "predict_s": seconds,
            "images_per_s": len(images) / seconds,
            "peak_mb": peak_megabytes(),
        },
        images,
        everything.pixels.pro_curve(limit=max(AUPRO_LIMITS)),
        everything.pixels.precision_recall_curve(),
        _learned(detector),
        detector.describe(),
    )


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
    """The image with heat and outline as JPEG, made from the canvas: the file is not decoded again."""
    assert verdict.pixels is not None
    scale = min(1.0, _THUMBNAIL / max(verdict.size))
    size = (max(1, round(scale * verdict.size[0])), max(1, round(scale * verdict.size[1])))
    channels = [verdict.canvas.restore(verdict.pixels[..., i].astype(np.float32), size) for i in range(3)]
    image = np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)
    return _jpeg(draw(image, verdict, _THUMBNAIL))


def _exhibited(verdict: Verdict) -> tuple[bytes | None, str]:
    """The oddest region's picture and reason."""
    if not verdict.regions or verdict.regions[0].reason is None:
        return None, ""
    region = verdict.regions[0]
    return _jpeg(pair(None, verdict, region, _EXHIBIT)), "; ".join(told_in_lines(region))


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    stream = BytesIO()
    Image.fromarray(picture).save(stream, format="JPEG", quality=80)
    return stream.getvalue()


def _learned(detector: Detector) -> Learned | None:
    """Spectrum and spread from the sums of the detector's cells; None where they hold a single vector."""
    statistics = detector.scorer_.patches
    n, cells = statistics.count, statistics.cells
    if n < 2:
        return None
    given = detector.scorer_.given
    total = statistics.total[:, given:].cpu().numpy()
    outer = statistics.outer[:, given:, given:].cpu().numpy()
    pooled = (outer.sum(0) - total.T @ total / n) / (cells * (n - 1))
    variances = (np.einsum("pdd->pd", outer) - total**2 / n) / (n - 1)  # the diagonals, not copied
    # Each channel in its own unit, so that no channel decides alone.
    relative = variances / np.maximum(pooled.diagonal(), np.finfo(float).tiny)
    return Learned(
        spectrum=np.maximum(np.linalg.eigvalsh(pooled)[::-1], 0.0),
        spread=np.sqrt(np.maximum(relative.mean(1), 0.0)).reshape(detector.scorer_.rows, -1),
    )


@dataclass
class _Maps:
    """Maps counted for the pixel metrics, and pixels outlined and truly defective for the outlines' F1."""

    pixels: PixelMetrics
    both: int = 0
    either: int = 0

    def add(self, sample: Sample, verdict: Verdict, truth: NDArray[np.bool_] | None) -> None:
        self.pixels.add(verdict.map, truth, anomalous=bool(sample.label))
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
