"""What an evaluation found, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anomalyvfm.data import Sample
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.metrics.pixel import Curve
from anomalyvfm.pipeline import Spread


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
    learned: Spread | None
    model: dict[str, Any]
