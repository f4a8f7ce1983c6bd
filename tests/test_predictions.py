from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalyvfm.detector import Detector
from anomalyvfm.drift import DriftTest
from anomalyvfm.predictions import Maps, save_picture, write_predictions


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


@pytest.mark.parametrize("maps", ["all", "anomalous", "none"])
def test_pictures_are_written_of_the_images_asked_for(
    maps: Maps, fitted_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    detector = Detector.load(fitted_folder, device="cpu")
    parts = drawn / "sheet_metal" / "test_public"
    images = [path for folder in ("good", "bad") for path in sorted((parts / folder).iterdir())]
    out = tmp_path / "out"
    write_predictions(detector, [*images, tmp_path / "missing.png"], out, maps=maps)
    *lines, broken = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert "map" not in broken
    assert {line["anomalous"] for line in lines} == {True, False}
    wanted = {"all": len(images), "anomalous": sum(line["anomalous"] for line in lines), "none": 0}[maps]
    shown = [line for line in lines if line["map"] is not None]
    assert len(shown) == wanted
    assert maps != "anomalous" or all(line["anomalous"] for line in shown)
    written = sorted(path.name for path in (out / "maps").iterdir()) if maps != "none" else []
    assert written == sorted(Path(line["map"]).name for line in shown)
    assert (out / "maps").exists() == (maps != "none")


def test_a_grey_picture_is_stored_grey_and_looks_the_same(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (40, 30, 1), np.uint8)
    for picture, mode in (
        (np.repeat(grey, 3, axis=2), "L"),
        (np.concatenate([grey, grey, 255 - grey], axis=2), "RGB"),
        (grey[..., 0], "L"),
    ):
        save_picture(picture, tmp_path / "picture.png")
        with Image.open(tmp_path / "picture.png") as stored:
            assert stored.mode == mode
            shown = np.asarray(stored.convert("RGB"))
        assert np.array_equal(shown, picture if picture.ndim == 3 else np.repeat(grey, 3, axis=2))
