"""A fit in parts: in whichever order they come, the model is that of one machine; it goes on where it was."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from anomalyvfm.cluster import fitting, parts
from anomalyvfm.cluster.fitting import ClusterFit
from anomalyvfm.cluster.workers import Cluster
from anomalyvfm.data.defects import Defect
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError

from ..conftest import SMALL
from ..quick_detectors import good, save_images
from .here import Here

COUNT = 75
SETTINGS = {**SMALL, "image.size": 64, "batch": 2, "calibration.images": 40}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Some good images, one of them twice, and a file that is none."""
    folder = save_images(good(COUNT - 2, side=64), tmp_path_factory.mktemp("images") / "good")
    shutil.copy(folder / "003.png", folder / "copy.png")
    (folder / "broken.png").write_bytes(b"no image")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def plain(images: list[Path]) -> Detector:
    return Detector("v2", SETTINGS, device="cpu").fit(images)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "Workers", Here)
    monkeypatch.setattr(fitting, "connected", lambda cluster: nullcontext())
    monkeypatch.setattr(Here, "dies_after", None)
    monkeypatch.setattr(parts, "_LEAST", 6)
    monkeypatch.setattr(parts, "_PARTS", 12)


def fitted(images: list[Path], folder: Path, **given: Any) -> tuple[Detector, dict[str, Any]]:
    engine = ClusterFit(Cluster(), folder, given.pop("resume", False))
    detector = Detector("v2", {**SETTINGS, **given.pop("settings", {})}, device="cpu")
    return detector.fit(images, engine=engine, **given), engine.summary


def tensors(detector: Detector) -> dict[str, torch.Tensor]:
    found = detector.pipeline_.to_tensors()
    arrays = detector.calibration_.arrays()
    return {**found, **{f"calibration.{name}": torch.from_numpy(array) for name, array in arrays.items()}}


def require_equal(one: Detector, other: Detector, relative: float) -> None:
    mine, theirs = tensors(one), tensors(other)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        largest = theirs[name].double().abs().max() if tensor.numel() else 0.0
        # Scores are computed in float32, sums in float64.
        allowed = max(relative, 1e-6 if relative and name.startswith("calibration") else 0.0)
        torch.testing.assert_close(
            tensor.double(), theirs[name].double(), rtol=0, atol=float(allowed * largest), msg=name
        )
    assert one.pipeline_.skipped == other.pipeline_.skipped
    assert one.pipeline_.learned == other.pipeline_.learned
    assert one.pipeline_.brightest == other.pipeline_.brightest
    assert one.pipeline_.describe() == other.pipeline_.describe()
    assert [name for name, _ in one.oddest_] == [name for name, _ in other.oddest_]


@pytest.mark.parametrize("fan", [2, 16])
def test_the_model_is_that_of_one_machine_whatever_the_order(
    images: list[Path], plain: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fan: int
) -> None:
    monkeypatch.setattr(parts, "FAN", fan)
    first, summary = fitted(images, tmp_path / "one")
    assert summary["parts"] == 10 and summary["images"] == COUNT
    assert summary["images_before"] == 0
    require_equal(first, plain, 1e-9)
    second, _ = fitted(images, tmp_path / "two")
    require_equal(first, second, 0.0)  # to the last bit


def test_with_moving_parts_a_bank_of_patches_is_the_same_too(images: list[Path], tmp_path: Path) -> None:
    settings = {"gaussian.window": 2, "gaussian.experts": "all", "gaussian.bank": "auto"}
    plain = Detector("v2", {**SETTINGS, **settings}, device="cpu").fit(images)
    there, _ = fitted(images, tmp_path / "parts", settings=settings)
    assert "bank_0.patches" in plain.pipeline_.to_tensors()
    require_equal(there, plain, 1e-9)


def test_validation_images_and_defects_are_told_as_on_one_machine(images: list[Path], tmp_path: Path) -> None:
    defects = [Defect(images[5], None)]
    learned, validation = [image for image in images if image != images[5]][:50], images[60:]
    plain = Detector("v2", SETTINGS, device="cpu").fit(learned, validation, defects=defects)
    there, _ = fitted(learned, tmp_path / "parts", validation=validation, defects=defects)
    require_equal(there, plain, 1e-9)


def test_a_run_that_was_killed_goes_on_with_the_parts_that_are_there(
    images: list[Path], plain: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "FAN", 3)
    for _ in range(4):  # within the parts, then within the sums
        monkeypatch.setattr(Here, "dies_after", 4)
        with pytest.raises(KeyboardInterrupt):
            fitted(images, tmp_path / "parts", resume=True)
    monkeypatch.setattr(Here, "dies_after", None)
    (tmp_path / "parts" / ".sums-0-000001.abc").mkdir()  # by a worker that was killed
    detector, summary = fitted(images, tmp_path / "parts", resume=True)
    assert summary["images_before"] == COUNT  # each once
    require_equal(detector, plain, 1e-9)
    assert not list((tmp_path / "parts").glob(".*"))


def test_without_resume_nothing_of_an_earlier_run_is_taken(images: list[Path], tmp_path: Path) -> None:
    fitted(images, tmp_path / "parts")
    _, summary = fitted(images, tmp_path / "parts")
    assert summary["images_before"] == 0


def test_parts_of_another_fit_and_folders_of_others_are_refused(images: list[Path], tmp_path: Path) -> None:
    place = tmp_path / "parts"
    fitted(images, place)
    for changed in ({"images": images[1:]}, {"settings": {"image.size": 96}}):
        with pytest.raises(InputError, match="parts: parts of a run of other images or other settings"):
            fitted(**{"images": images, **changed}, folder=place, resume=True)  # type: ignore[arg-type]
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="foreign: in the way, parts of the run would lie there"):
        fitted(images, foreign)
    assert (foreign / "mine.txt").read_text() == "mine"


def test_a_part_that_was_damaged_is_named(images: list[Path], tmp_path: Path) -> None:
    place = tmp_path / "parts"
    fitted(images, place)
    sums = place / "sums-0-000002" / "sums.safetensors"
    sums.write_bytes(sums.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"sums-0-000002/sums\.safetensors: cannot be read .*--resume"):
        fitted(images, place, resume=True)


def test_presets_that_are_trained_are_refused(images: list[Path], tmp_path: Path) -> None:
    detector = Detector("v1.1", {"backbone": "efficientnet-lite0", "image.size": 64}, device="cpu")
    with pytest.raises(InputError, match="this preset is trained, on one machine"):
        detector.fit(images, engine=ClusterFit(Cluster(), tmp_path / "parts"))
