from __future__ import annotations

import json
from pathlib import Path

from anomalyvfm.detector import Detector
from anomalyvfm.drift import DriftTest
from anomalyvfm.predictions import write_predictions


def test_drift_sees_the_images_in_input_order_and_its_state_goes_on(
    fitted_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    detector = Detector.load(fitted_folder, device="cpu")
    calibration = detector.calibration_
    good = sorted((drawn / "sheet_metal" / "test_public" / "good").iterdir())
    images = [good[0], tmp_path / "missing.png", *good[1:], *good[:3]]

    def begun() -> DriftTest:
        return DriftTest(calibration.scores, calibration.threshold, 500)

    expected = begun()
    for _, verdict in detector.judge([image for image in images if image.exists()]):
        expected.add(verdict.score)  # type: ignore[union-attr]
    tally = write_predictions(detector, images, tmp_path / "out", drift=begun())
    assert tally.drift == expected.summary()
    assert tally.drift["images"] == len(images) - 1
    written = json.loads((tmp_path / "out" / "drift.json").read_text())
    assert written["says"] == expected.describe()
    assert DriftTest.from_dict(written).as_dict() == expected.as_dict()
    # A later run without the test leaves no outcome of this one behind.
    assert write_predictions(detector, images[:2], tmp_path / "out").drift is None
    assert not (tmp_path / "out" / "drift.json").exists()
