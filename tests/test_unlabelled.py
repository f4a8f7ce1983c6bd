from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalyvfm.data.roi import Roi
from anomalyvfm.detector import Detector
from anomalyvfm.presets import GaussianPreset, preset
from anomalyvfm.ranking.rank import rank
from tests.conftest import SMALL, SMALL_IMAGES

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


def test_the_share_is_set_aside_the_most_unlike_the_others_first(polluted: list[Path]) -> None:
    for count in (1, 3):
        detector = Detector("v2", SMALL, device="cpu").fit(polluted, odd_share=count / len(polluted))
        names = [name for name, _ in detector.set_aside_]
        assert len(names) == count and set(names[:2]) <= SPOILED
        assert len(detector.pipeline_.learned) == len(polluted) - count


@pytest.mark.parametrize(("share", "count"), [(0.001, 1), (0.1, 2), (0.13, 2), (0.14, 3)])
def test_no_more_than_the_share_are_odd_but_one_at_least(
    polluted: list[Path], share: float, count: int
) -> None:
    assert len(polluted) == 22
    settings = preset("v2").override(SMALL)
    assert isinstance(settings, GaussianPreset)
    assert rank(polluted, settings, odd_share=share).odd == count


def test_it_is_what_rank_calls_odd(polluted: list[Path]) -> None:
    detector = Detector("v2", SMALL, device="cpu").fit(polluted, odd_share=0.2)
    settings = preset("v2").override(SMALL)
    assert isinstance(settings, GaussianPreset)
    ranking = rank(polluted, settings, odd_share=0.2)
    odd = ranking.order[: ranking.odd]
    assert [name for name, _ in detector.set_aside_] == [polluted[row].name for row in odd]
    np.testing.assert_allclose([score for _, score in detector.set_aside_], ranking.scores[odd], rtol=1e-4)


def test_what_counts_is_the_region_of_interest(polluted: list[Path]) -> None:
    mask = np.ones((96, 96), bool)
    mask[:72] = False
    odd_share = 2 / len(polluted)
    detector = Detector("v2", SMALL, device="cpu").fit(polluted, odd_share=odd_share, roi=Roi(mask))
    assert not SPOILED & {name for name, _ in detector.set_aside_}


def test_what_cannot_be_read_is_not_set_aside(polluted: list[Path]) -> None:
    (polluted[0].parent / "broken.png").write_bytes(b"no image")
    images = [*polluted, polluted[0].parent / "broken.png"]
    detector = Detector("v2", SMALL, device="cpu").fit(images, odd_share=2 / len(polluted))
    assert {name for name, _ in detector.set_aside_} == SPOILED
    assert "broken.png" in detector.pipeline_.skipped[0]


def test_v2_sorts_for_other_pipelines_too(polluted: list[Path]) -> None:
    detector = Detector("v1.1", {**SMALL_IMAGES, "lora.enabled": False}, device="cpu").fit(
        polluted, odd_share=2 / len(polluted)
    )
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
