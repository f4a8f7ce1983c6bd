"""Synthetic defects as files: what a version trains on, to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anomalyvfm.adapted import adaptation
from anomalyvfm.adapted.preview import write_synthetic
from anomalyvfm.adapted.training.loop import Curve, TrainingData
from anomalyvfm.data import InputFrame, open_dataset, read_source
from anomalyvfm.errors import InputError
from anomalyvfm.presets import AdaptedPreset, preset
from anomalyvfm.synthesis import Synthetic, synthesize
from anomalyvfm.tracking import untracked
from tests.checkpoints import save_tiny_dinov2
from tests.quick_detectors import good, quick, save_images


def settings(version: str = "v1.1", **overrides: object) -> AdaptedPreset:
    named = {key.replace("__", "."): value for key, value in overrides.items()}
    small = {"image.size": 96, "synthesis.count": 12, "backbone": "efficientnet-lite0"}
    chosen = preset(version).override(small | named)
    assert isinstance(chosen, AdaptedPreset)
    return chosen


def written(data: Path, out: Path, chosen: AdaptedPreset, seed: int = 0) -> dict[str, int]:
    out.mkdir()
    return write_synthetic(open_dataset(data), chosen, out, "cpu", seed, untracked)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("version", ["v1.1", "v1.4"])
def test_images_differ_from_the_good_ones_inside_their_masks_alone(
    version: str, drawn: Path, tmp_path: Path
) -> None:
    parts, out = drawn / "sheet_metal", tmp_path / "out"
    chosen = settings(version)
    counts = written(parts, out, chosen)
    assert sum(counts.values()) == 12
    listing = json.loads((out / "synthetic.json").read_text())
    sources = [sample.path for sample in open_dataset(parts).train]
    assert {stage: sum(one["stage"] == stage for one in listing) for stage in counts} == counts
    for one in listing:
        image, mask = (np.asarray(Image.open(out / one[name])) for name in ("image", "mask"))
        before = InputFrame(96, 96).place(read_source(sources[one["source"]], chosen.image))
        assert image.shape == before.shape == (96, 96, 3)
        assert np.array_equal((image != before).any(2), mask.astype(bool))
        assert one["pixels"] == mask.astype(bool).sum() > 0
        assert (one["donor"] is not None) == (one["stage"] == "contextual")
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width > sheet.height > 400


def test_the_same_seed_gives_the_same_files_and_another_seed_others(drawn: Path, tmp_path: Path) -> None:
    parts = drawn / "fabric"
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        written(parts, tmp_path / name, settings("v1.2"), seed)
    one, two, three = (contents(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert one["synthetic.json"] != three["synthetic.json"]


def test_they_are_the_images_a_fit_trains_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = save_tiny_dinov2(tmp_path / "tiny")
    seen: list[np.ndarray] = []

    def noted(*args: Any) -> Iterator[Synthetic]:
        for one in synthesize(*args):
            seen.append(one.image)
            yield one

    parts = tmp_path / "mine"
    save_images(good(6, side=64), parts / "train" / "good")
    save_images(good(2, side=64, seed=1), parts / "validation" / "good")
    save_images(good(1, side=64, seed=2), parts / "test_public" / "good")
    detector = quick("v1.2", tiny, lora__rank=4)
    monkeypatch.setattr(adaptation, "synthesize", noted)
    monkeypatch.setattr(adaptation, "train", lambda *_, **__: Curve(1, [1.0]))
    detector.fit(parts)
    out = tmp_path / "out"
    assert isinstance(detector.settings, AdaptedPreset)
    written(parts, out, detector.settings)
    files = [one["image"] for one in json.loads((out / "synthetic.json").read_text())]
    assert len(files) == len(seen) == 12
    for file, image in zip(files, seen, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(out / file)), image)


def test_a_stage_can_be_left_out_and_severity_lowered(drawn: Path, tmp_path: Path) -> None:
    chosen = settings(synthesis__leave_out="texture", synthesis__severity=0.2)
    assert written(drawn / "fabric", tmp_path / "out", chosen) == {
        "texture": 0,
        "structural": 6,
        "contextual": 6,
    }


def test_a_name_of_mvtec_ad_2_needs_no_backbone_and_another_is_looked_at(tmp_path: Path) -> None:
    missing = settings("v1.4", backbone=str(tmp_path / "none"))
    walnuts = save_images(good(3, side=96), tmp_path / "walnuts")
    assert written(walnuts, tmp_path / "a", missing) == {"texture": 6, "structural": 4, "contextual": 2}
    bolts = save_images(good(3, side=96), tmp_path / "bolts")
    with pytest.raises(InputError, match="none"):
        written(bolts, tmp_path / "b", missing)
    assert sum(written(bolts, tmp_path / "c", settings("v1.1", backbone="none at all")).values()) == 12
    assert sum(written(bolts, tmp_path / "d", settings("v1.4")).values()) == 12


def test_unreadable_images_are_passed_over_and_one_readable_is_too_few(tmp_path: Path) -> None:
    folder = save_images(good(3, side=96), tmp_path / "can")
    (folder / "000.png").write_bytes(b"no image")
    assert sum(written(folder, tmp_path / "out", settings()).values()) == 12
    (folder / "001.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"1 good image could be read; 2 are needed.*000.png") as raised:
        written(folder, tmp_path / "other", settings())
    assert "\n" not in str(raised.value)


def test_an_image_smaller_than_a_patch_is_refused(tmp_path: Path) -> None:
    folder = save_images([image[:8] for image in good(3, side=96)], tmp_path / "can")
    with pytest.raises(InputError, match=r"9×111 px is too small to put a synthetic defect into"):
        written(folder, tmp_path / "out", settings(image__size=32, image__aspect="keep"))


def test_the_backbones_own_size_has_to_be_named(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --image-size"):
        written(drawn / "fabric", tmp_path / "out", settings(image__size=None))


def test_training_data_needs_both_kinds() -> None:
    with pytest.raises(InputError, match="needs good and synthetic images"):
        TrainingData(torch.zeros(0, 3), torch.zeros(1, 3))
