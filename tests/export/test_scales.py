"""A model that sees an image at two scales judges alike once exported."""

from pathlib import Path

import numpy as np
import pytest

from anomalyvfm.detector import Detector
from anomalyvfm.export.exporting import export
from anomalyvfm.runtime import load
from tests.quick_detectors import good


# With windows there are banks as well.
@pytest.mark.parametrize(("kind", "window"), [("onnx", 1), ("onnx", 2), ("openvino", 2)])
def test_two_scales_judge_alike_once_exported(kind: str, window: int, tmp_path: Path) -> None:
    settings = {
        "backbone": "efficientnet-lite0",
        "image.size": 128,
        "gaussian.scales": "1,0.5",
        "gaussian.window": window,
        "gaussian.context_dimensions": 0,
    }
    detector = Detector("v2", settings, device="cpu").fit(good(12))
    export(detector, tmp_path / "exported", kind)
    images = [*good(3, seed=7), *(255 - image for image in good(1, seed=8))]
    exported = load(tmp_path / "exported", threads=1).predict(images)
    for ours, theirs in zip(detector.predict(images), exported, strict=True):
        assert theirs.score == pytest.approx(ours.score, abs=0.01)
        assert theirs.anomalous == ours.anomalous
        np.testing.assert_allclose(theirs.anomaly_map, ours.anomaly_map, atol=0.05)
