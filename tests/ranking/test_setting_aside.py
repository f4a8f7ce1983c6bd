from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalyvfm.detector import Detector
from anomalyvfm.presets import preset
from anomalyvfm.ranking.setting_aside import set_aside

SMALL = {"backbone": "efficientnet-lite0", "image.size": 96}
SPOILED = {"bad-0.png", "bad-1.png"}


@pytest.fixture
def polluted(drawn: Path, tmp_path: Path) -> list[Path]:
    """Two parts with a red patch, then good ones."""
    mixed = Path(shutil.copytree(drawn / "sheet_metal" / "train" / "good", tmp_path / "mixed"))
    good = sorted(mixed.iterdir())
    for number in range(2):
        image = np.asarray(Image.open(good[number])).copy()
        image[30:60, 20 + 8 * number : 60] = (180, 20, 20)
        Image.fromarray(image).save(mixed / f"bad-{number}.png")
    return sorted(mixed.iterdir(), key=lambda path: (path.name not in SPOILED, path.name))


def test_the_oddest_share_is_told_apart_and_all_else_kept(polluted: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "mixed" / "broken.png"
    broken.write_bytes(b"no image")
    found = set_aside([broken, *polluted], preset("v2").override(SMALL), 2 / len(polluted), "cpu")
    assert {name for name, _ in found.odd} == SPOILED
    assert found.odd[0][1] >= found.odd[1][1] > 3
    # What cannot be read is for the fit to name.
    spoiled = {row for row, path in enumerate(polluted, start=1) if path.name in SPOILED}
    assert found.kept == [row for row in range(len(polluted) + 1) if row not in spoiled]


def test_a_pipeline_without_gaussians_looks_in_its_own_frame(polluted: list[Path]) -> None:
    settings = preset("v1.1").override({**SMALL, "image.size": 64})
    found = set_aside(polluted, settings, 2 / len(polluted), "cpu")
    assert {name for name, _ in found.odd} == SPOILED


def test_what_is_set_aside_is_not_learned_and_is_remembered(polluted: list[Path], tmp_path: Path) -> None:
    detector = Detector("v2", SMALL, device="cpu").fit(polluted, odd_share=2 / len(polluted))
    assert {name for name, _ in detector.set_aside_} == SPOILED
    clean = Detector("v2", SMALL, device="cpu").fit([path for path in polluted if path.name not in SPOILED])
    assert detector.pipeline_.learned == clean.pipeline_.learned and clean.set_aside_ == []
    np.testing.assert_array_equal(detector.calibration_.image_scores, clean.calibration_.image_scores)
    detector.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model", device="cpu").set_aside_
    assert again == [(name, round(score, 4)) for name, score in detector.set_aside_]


def test_images_to_calibrate_with_are_looked_at_too(polluted: list[Path]) -> None:
    held_out, rest = polluted[:6], polluted[6:]
    detector = Detector("v2", SMALL, device="cpu")
    detector.fit(rest, validation=held_out, odd_share=2 / len(polluted))
    assert {name for name, _ in detector.set_aside_} == SPOILED
    assert len(detector.pipeline_.learned) == len(rest)
