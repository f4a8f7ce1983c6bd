"""A model that sees an image at two scales judges alike once exported."""

from pathlib import Path

import numpy as np
import pytest

from anomalyvfm.detector import Detector
from anomalyvfm.runtime import load
from tests.export.exports import in_both_kinds
from tests.quick_detectors import good


# With windows there are banks as well.
@pytest.mark.parametrize("window", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_two_scales_judge_alike_once_exported(window: int, tmp_path: Path) -> None:
    settings = {
        "backbone": "efficientnet-lite0",
        "image.size": 128,
        "gaussian.scales": "1,0.5",
        "gaussian.window": window,
        "gaussian.context_dimensions": 0,
    }
    detector = Detector("v2", settings, device="cpu").fit(good(12))
    images = [*good(3, seed=7), *(255 - image for image in good(1, seed=8))]
    expected = detector.predict(images)
    for kind in in_both_kinds(detector, tmp_path):
        exported = load(tmp_path / kind, threads=1).predict(images)
        for ours, theirs in zip(expected, exported, strict=True):
            assert theirs.score == pytest.approx(ours.score, abs=0.01), kind
            assert theirs.anomalous == ours.anomalous, kind
            np.testing.assert_allclose(theirs.anomaly_map, ours.anomaly_map, atol=0.05, err_msg=kind)
