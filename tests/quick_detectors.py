"""Detectors with an adapter that take a moment to fit: a tiny transformer, few small images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from anomalyvfm.adapted.adaptation import Adaptation
from anomalyvfm.data import ImageSource
from anomalyvfm.data.generated import draw_good
from anomalyvfm.detector import Detector
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.synthesis.patch import Image8

QUICK: dict[str, object] = {"image.size": 56, "training.epochs": 2, "synthesis.count": 12, "lora.rank": 4}


def good(count: int, seed: int = 0, side: int = 56, category: str = "sheet_metal") -> list[Image8]:
    rng = np.random.default_rng(seed)
    return [draw_good(category, side, rng) for _ in range(count)]


def quick(version: str, backbone: Path | str, **overrides: object) -> Detector:
    """An unfitted detector; overrides are written with __ for the dot."""
    named = {key.replace("__", "."): value for key, value in overrides.items()}
    return Detector(version, {"backbone": str(backbone), **QUICK, **named}, device="cpu")


def features(detector: Detector, images: Sequence[ImageSource]) -> PatchFeatures:
    """What the detector's backbone sees in all images at once."""
    extractor = detector.pipeline_.extractor
    before, extractor.batch = extractor.batch, len(images)
    (batch,) = extractor.extract(images)
    extractor.batch = before
    assert batch.features is not None
    return batch.features


def save_images(images: Sequence[Image8], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03}.png")
    return folder


def adaptation(detector: Detector) -> Adaptation:
    """What was trained."""
    return Adaptation(**detector.pipeline_.describe()["adaptation"])
