from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalyvfm.detector import Detector

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


def test_of_good_images_alone_none_is_set_aside(polluted: list[Path]) -> None:
    detector = Detector("v2", SMALL, device="cpu")
    detector.fit([path for path in polluted if path.name not in SPOILED], odd_share=0.2)
    assert detector.set_aside_ == []


def test_no_more_than_the_share_is_set_aside(polluted: list[Path]) -> None:
    detector = Detector("v2", SMALL, device="cpu").fit(polluted, odd_share=1 / len(polluted))
    assert len(detector.set_aside_) == 1 and detector.set_aside_[0][0] in SPOILED


def test_v2_sorts_for_other_pipelines_too(polluted: list[Path]) -> None:
    detector = Detector("v1.1", {**SMALL, "lora.enabled": False}, device="cpu").fit(polluted, odd_share=0.2)
    assert {name for name, _ in detector.set_aside_} == SPOILED


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
