"""A detector against labelled images: what its scores, maps and decisions are worth."""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data import Category, ImageError, Sample, read_mask
from anomalyvfm.detector import Detector, Tracker, untracked
from anomalyvfm.errors import InputError
from anomalyvfm.metrics.pixel import PixelMetrics
from anomalyvfm.metrics.summary import summarise
from anomalyvfm.model_file import new_folder


@dataclass(frozen=True)
class Judged:
    """One test image and what was said about it."""

    sample: Sample
    score: float
    p_value: float
    anomalous: bool


@dataclass(frozen=True)
class Report:
    """All that an evaluation found: ``metrics`` as in metrics.json, and every image's outcome."""

    metrics: dict[str, Any]
    images: list[Judged]

    def save(self, out: Path, overwrite: bool = False) -> None:
        """Write the result files to a new folder, whole or not at all."""
        with new_folder(out, overwrite) as folder:
            text = json.dumps(self.metrics, indent=2, allow_nan=False)
            (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")


def evaluate(detector: Detector, category: Category, track: Tracker = untracked) -> Report:
    """Judge the labelled test images of a category and measure.

    Maps are counted at each image's own resolution and not kept. Raises InputError where there is nothing
    to test on, or a mask and its image differ in size.
    """
    samples = [sample for sample in category.test if sample.label is not None]
    if not samples:
        raise InputError(f"{category.name}: no labelled test images in this layout ({category.layout})")
    pixels = PixelMetrics()
    overlap = _Overlap()
    images: list[Judged] = []
    skipped: list[str] = []
    started = time.perf_counter()
    judged = detector.judge([sample.path for sample in samples])
    for sample, (_, verdict) in zip(samples, track(judged, len(samples), "judging"), strict=True):
        if isinstance(verdict, ImageError):
            skipped.append(str(verdict))
            continue
        images.append(Judged(sample, verdict.score, verdict.p_value, verdict.anomalous))
        mask = read_checked_mask(sample, verdict.size)
        pixels.add(verdict.map, mask, anomalous=bool(sample.label))
        overlap.add(verdict.mask, mask)
    if not images:
        raise InputError(f"none of the {len(samples)} test images could be read; the first: {skipped[0]}")
    seconds = time.perf_counter() - started
    metrics = summarise(
        [image.score for image in images],
        [bool(image.sample.label) for image in images],
        [image.anomalous for image in images],
        conditions=[image.sample.condition for image in images],
        kinds=[image.sample.kind if image.sample.label else None for image in images],
        pixels=pixels,
    )
    if pixels.undefined_because is None:
        metrics["seg_f1"] = overlap.f1
        metrics["reasons"].pop("seg_f1", None)
    return Report(
        {
            "category": category.name,
            **metrics,
            "n_skipped": len(skipped),
            "skipped": skipped,
            "fit_s": detector.fit_seconds_,
            "predict_s": seconds,
            "images_per_s": len(images) / seconds,
            "peak_mb": peak_megabytes(),
        },
        images,
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


class _Overlap:
    """Pixels outlined and pixels truly defective, over all images: the F1 of the outlines as given out."""

    def __init__(self) -> None:
        self.both = self.either = 0

    def add(self, outlined: NDArray[np.bool_], truth: NDArray[np.bool_] | None) -> None:
        self.either += int(outlined.sum())
        if truth is not None:
            self.both += int((outlined & truth).sum())
            self.either += int(truth.sum())

    @property
    def f1(self) -> float:
        return 2 * self.both / self.either if self.either else 0.0


def peak_megabytes() -> float:
    """Largest resident memory this process has had, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
