"""Reports made up for tests: no model, small images on disk."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anomalyvfm.data import InputFrame, Sample
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.evaluation.report import Judged, Report
from anomalyvfm.metrics.pixel import PixelMetrics
from anomalyvfm.metrics.summary import summarise
from anomalyvfm.pipeline import Spread
from anomalyvfm.presets import preset

SIZE = (24, 36)
THRESHOLD = 2.5


def make_report(
    folder: Path,
    scores: Sequence[float],
    labels: Sequence[int],
    *,
    masks: bool = True,
    names: Sequence[str] | None = None,
    conditions: Sequence[str | None] | None = None,
    kinds: Sequence[str] | None = None,
    learned: bool = True,
    layout: str = "mvtec_ad2",
    category: str = "can",
    skipped: Sequence[str] = (),
    calibration: int = 200,
    against: dict[str, Any] | None = None,
) -> Report:
    rng = np.random.default_rng(0)
    names = names or [f"{i:03d}.png" for i in range(len(scores))]
    images, pixels = [], PixelMetrics()
    for i, (score, label) in enumerate(zip(scores, labels, strict=True)):
        sample = _sample(folder, rng, names[i], label, masks)
        if conditions or kinds:
            kind = kinds[i] if kinds and label else sample.kind
            sample = Sample(sample.path, label, sample.mask, conditions[i] if conditions else None, kind)
        verdict = _verdict(rng, score)
        images.append(Judged(sample, verdict, _jpeg()))
        pixels.add(verdict.map, None if sample.mask is None else _MASK, anomalous=bool(label))
    metrics: dict[str, Any] = summarise(
        [image.verdict.score for image in images],
        labels,
        [image.verdict.anomalous for image in images],
        conditions=[image.sample.condition for image in images],
        kinds=[image.sample.kind if image.sample.label else None for image in images],
        pixels=pixels,
        resamples=50,
    )
    return Report(
        {
            "category": category,
            "layout": layout,
            **metrics,
            "n_skipped": len(skipped),
            "n_outside": 0,
            "skipped": list(skipped),
            "threshold": THRESHOLD,
            "fit_s": 1.5,
            "predict_s": 2.0,
            "images_per_s": len(images) / 2.0,
            "peak_mb": 512.0,
            "against": against,
        },
        images,
        pixels.pro_curve(0.3),
        pixels.precision_recall_curve(),
        Spread(np.geomspace(10, 0.1, 12), rng.uniform(0.5, 1.5, (4, 6))) if learned else None,
        _model(calibration),
    )


def typical(folder: Path, **settings: Any) -> Report:
    """Eight good images, one rejected; eight defective ones, two let pass."""
    good = [-1.2, -0.4, 0.1, 0.3, 0.8, 1.5, 2.1, 3.0]
    bad = [1.0, 2.0, 3.5, 4.0, 5.0, 6.0, 7.0, 9.0]
    return make_report(folder, good + bad, [0] * 8 + [1] * 8, **settings)


_MASK = np.zeros(SIZE, np.bool_)
_MASK[4:9, 10:20] = True


def _sample(folder: Path, rng: np.random.Generator, name: str, label: int, masks: bool) -> Sample:
    path = folder / ("bad" if label else "good") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (*SIZE, 3), np.uint8)).save(path, format="PNG")
    if not (label and masks):
        return Sample(path, label, kind="bad" if label else "good")
    mask = folder / "masks" / name
    mask.parent.mkdir(exist_ok=True)
    Image.fromarray(_MASK).save(mask, format="PNG")
    return Sample(path, label, mask, kind="bad")


def _verdict(rng: np.random.Generator, score: float) -> Verdict:
    return Verdict(
        score=score,
        p_value=0.25,
        anomalous=score > THRESHOLD,
        threshold=THRESHOLD,
        anomaly_map=rng.normal(score, 1.0, (4, 6)).astype(np.float32),
        size=SIZE,
        frame=InputFrame(32, 32),
        low_threshold=3.0,
        high_threshold=4.0,
        seconds=0.01,
        summary=rng.normal(0, 1, 10).astype(np.float32),
    )


def _jpeg() -> bytes:
    stream = BytesIO()
    Image.new("RGB", (12, 8), "gray").save(stream, format="JPEG")
    return stream.getvalue()


def _model(calibration: int) -> dict[str, Any]:
    return {
        "anomalyvfm_version": "0.0",
        "settings": preset("v2").model_dump(mode="json"),
        "backbone": {"name": "efficientnet-lite0", "layers": [3, 5], "weight_hash": "ab" * 32},
        "input_frame": {"height": 32, "width": 32, "aspect": "stretch"},
        "grid": {"height": 4, "width": 6, "channels": 12, "step": 1, "dimensions": 12},
        "calibration": {
            "images": calibration,
            "false_alarm_rate": 0.01,
            "threshold": THRESHOLD,
            "promised": calibration >= 99,
        },
        "fitted_on": {"category": "can", "images": 40, "skipped": 0, "seconds": 1.5},
    }


AGAINST: dict[str, Any] = {
    "model": "models/<other>",
    "images": 40,
    "metrics": {
        "image_auroc": {
            "value": 0.91,
            "other": 0.88,
            "difference": 0.03,
            "interval": [-0.01, 0.07],
            "p_value": 0.142,
            "noise": True,
        },
        "class_f1": {
            "value": 0.8,
            "other": 0.5,
            "difference": 0.3,
            "interval": [0.2, 0.4],
            "p_value": 0.001,
            "noise": False,
        },
    },
    "reason": None,
}
"""What an evaluation found against another model."""
