"""The light an image was taken in, judged by an exported model as by the fitted one."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalyvfm.runtime import load
from tests.export.exports import in_both_kinds
from tests.quick_detectors import good
from tests.statistical.test_light import changed, fitted


def test_an_exported_model_judges_light_alike(tmp_path: Path) -> None:
    detector = fitted()
    images = [*good(3, seed=7), *(changed(image, 1.3) for image in good(2, seed=8))]
    expected = detector.predict(images)
    for kind in in_both_kinds(detector, tmp_path):
        exported = load(tmp_path / kind, threads=1).predict(images)
        for ours, theirs in zip(expected, exported, strict=True):
            assert theirs.light == pytest.approx(ours.light, abs=0.01), kind
            assert theirs.score == pytest.approx(ours.score, abs=0.01), kind
            assert theirs.odd_light == ours.odd_light, kind
