"""The light an image was taken in, judged by an exported model as by the fitted one."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalyvfm.export.exporting import export
from anomalyvfm.runtime import load
from tests.quick_detectors import good
from tests.statistical.test_light import changed, fitted


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_an_exported_model_judges_light_alike(kind: str, tmp_path: Path) -> None:
    detector = fitted()
    export(detector, tmp_path / "exported", kind)
    images = [*good(3, seed=7), *(changed(image, 1.3) for image in good(2, seed=8))]
    exported = load(tmp_path / "exported", threads=1).predict(images)
    for ours, theirs in zip(detector.predict(images), exported, strict=True):
        assert theirs.light == pytest.approx(ours.light, abs=0.01)
        assert theirs.score == pytest.approx(ours.score, abs=0.01)
        assert theirs.odd_light == ours.odd_light
