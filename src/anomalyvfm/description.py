"""What ``model.json`` says of a model, as plain data."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from anomalyvfm import __version__
from anomalyvfm.adapted.adapters import digest
from anomalyvfm.adapted.in_encoder import InEncoderAdapter
from anomalyvfm.features.extractor import Extractor
from anomalyvfm.presets import ImageSettings
from anomalyvfm.scorer import Scorer

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector


def describe_model(detector: Detector) -> dict[str, Any]:
    calibration = detector.calibration_
    return {
        "anomalyvfm_version": __version__,
        "settings": detector.settings.model_dump(mode="json"),
        "seed": detector.seed,
        **detector.identity(),
        "calibration": {
            "images": calibration.count,
            "false_alarm_rate": calibration.false_alarm_rate,
            "threshold": calibration.threshold,
            "promised": calibration.promised,
        },
        "adaptation": None if detector.adaptation_ is None else asdict(detector.adaptation_),
        "fitted_on": {
            "category": detector.category_,
            "images": detector.learned_.total(),
            "skipped": len(detector.skipped_),
            "different": len(detector.learned_),
            "shown": len(detector.gallery_),
            "brightest": detector.brightest_,
            "oddest": [{"image": name, "score": round(score, 4)} for name, score in detector.oddest_],
            "seconds": detector.fit_seconds_,
        },
    }


def model_identity(
    extractor: Extractor, image: ImageSettings, scorer: Scorer, in_encoder: InEncoderAdapter | None
) -> dict[str, Any]:
    """What two models must have in common for their sums to add up."""
    backbone = extractor.backbone
    return {
        "backbone": {
            "name": backbone.name,
            "layers": list(backbone.layers),
            "weight_hash": backbone.weight_hash,
        },
        "canvas": asdict(extractor.canvas),
        "image": image.model_dump(mode="json"),
        **scorer.identity(),
        "encoder": None if in_encoder is None else digest(in_encoder),
    }
