"""Reasons, from fitting to what a verdict says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomalyvfm.data.generated import draw_good
from anomalyvfm.decision.reason import Reason
from anomalyvfm.decision.regions import Region
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.detector import Detector
from tests.conftest import SMALL, SMALL_IMAGES


def good(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [draw_good("gear", 96, rng) for _ in range(count)]


def spoiled(image: np.ndarray) -> np.ndarray:
    """With a bright blot at its upper right."""
    odd = image.copy()
    odd[20:34, 60:76] = (250, 40, 200)
    return odd


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return good(24)


@pytest.fixture(scope="module")
def detector(images: list[np.ndarray]) -> Detector:
    return Detector("v2", SMALL, device="cpu").fit(images)


def odd_one(detector: Detector) -> tuple[Verdict, Region, Reason]:
    (verdict,) = detector.predict([spoiled(good(1, seed=9)[0])])
    region = verdict.regions[0]
    assert region.reason is not None
    return verdict, region, region.reason


def test_every_region_has_a_reason_and_says_it_as_plain_data(detector: Detector) -> None:
    verdict, region, reason = odd_one(detector)
    assert all(region.reason is not None for region in verdict.regions)
    said = json.loads(json.dumps(region.as_dict(), allow_nan=False))
    assert set(said) == {"bbox", "area", "area_range", "peak", "zone", "nearest", "layers"}
    assert set(said["layers"]) == {"4", "5"}
    assert sum(said["layers"].values()) == pytest.approx(1, abs=1e-3)
    assert set(said["nearest"]) == {"image", "bbox", "distance"}
    x0, y0, x1, y1 = said["nearest"]["bbox"]
    assert 0 <= x0 < x1 <= 96
    assert 0 <= y0 < y1 <= 96
    assert [one.share for one in reason.layers] == sorted((one.share for one in reason.layers), reverse=True)
    assert {one.layer: one.sees for one in reason.layers} == {4: "patterns", 5: "parts"}


def test_arrays_are_named_by_their_number(detector: Detector) -> None:
    kept = detector.pipeline_.gallery.images.values()
    assert {one.name for one in kept} == {f"array {i}" for i in range(24)}


def test_peaks_lie_in_their_regions(detector: Detector) -> None:
    verdict, _, _ = odd_one(detector)
    for region in verdict.regions:
        x, y = region.peak_at
        assert region.bbox[0] <= x < region.bbox[2]
        assert region.bbox[1] <= y < region.bbox[3]
        assert verdict.map[y, x] == pytest.approx(region.peak)


def test_a_learned_image_moved_by_a_defect_is_shown_beside_itself(
    detector: Detector, images: list[np.ndarray]
) -> None:
    """Of the 24 gears none is as like a spoiled one as that gear before."""
    found = 0
    for number in range(6):
        (verdict,) = detector.predict([spoiled(images[number])])
        for region in verdict.regions[:1]:
            assert region.reason is not None
            assert region.reason.nearest is not None
            found += region.reason.nearest.image == f"array {number}"
    assert found >= 4


def test_good_images_cost_nothing_and_hold_no_features(detector: Detector, images: list[np.ndarray]) -> None:
    for verdict in detector.predict(images):
        assert (verdict.explain is not None) == verdict.anomalous
    assert sum(v.anomalous for v in detector.predict(images)) < 3


def test_reasons_are_worked_out_when_asked_and_once(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict, _, _ = odd_one(detector)
    asked = []
    explain = verdict.explain
    assert explain is not None

    def counted(regions: object, size: object) -> list[Reason]:
        asked.append(1)
        return explain(regions, size)  # type: ignore[arg-type]

    again = replace(verdict, explain=counted)
    assert again.mask.any()
    assert not asked
    assert again.regions == verdict.regions
    assert again.regions is again.regions
    assert asked == [1]


def test_a_stored_model_gives_the_same_reasons(detector: Detector, tmp_path: Path) -> None:
    detector.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model", device="cpu")
    (ours, _, _), (theirs, _, _) = odd_one(detector), odd_one(again)
    assert [r.as_dict() for r in ours.regions] == [r.as_dict() for r in theirs.regions]
    kept, restored = (one.pipeline_.gallery.images.values() for one in (detector, again))
    for one, other in zip(kept, restored, strict=True):
        np.testing.assert_array_equal(one.picture, other.picture)


def test_fitting_again_gives_the_same_reasons(images: list[np.ndarray], detector: Detector) -> None:
    again = Detector("v2", SMALL, device="cpu").fit(images)
    assert [r.as_dict() for r in odd_one(again)[0].regions] == [
        r.as_dict() for r in odd_one(detector)[0].regions
    ]


def test_update_forget_and_merge_change_what_can_be_shown(images: list[np.ndarray]) -> None:
    one = Detector("v2", SMALL | {"gallery.images": 6}, device="cpu").fit(images[:10])
    whole = Detector("v2", SMALL | {"gallery.images": 6}, device="cpu").fit(images[:18])
    other = Detector("v2", SMALL | {"gallery.images": 6}, device="cpu").fit(images[10:18])
    assert len(one.pipeline_.gallery) == 6
    before = one.pipeline_.gallery
    one.update(images[10:18])
    assert set(one.pipeline_.gallery.images) == set(whole.pipeline_.gallery.images)
    one.forget(images[10:18])
    assert set(one.pipeline_.gallery.images) <= set(before.images)
    one.merge(other)
    assert len(one.pipeline_.gallery) == 6
    (key,) = (one_.key for one_ in [one.pipeline_.extractor.place(images[3])])
    one.forget([images[3]])
    assert key not in one.pipeline_.gallery.images


def test_an_image_learned_twice_stays_until_forgotten_twice(images: list[np.ndarray]) -> None:
    detector = Detector("v2", SMALL, device="cpu").fit([*images[:6], images[0]])
    key = detector.pipeline_.extractor.place(images[0]).key
    assert key in detector.forget([images[0]]).pipeline_.gallery.images
    assert key not in detector.forget([images[0]]).pipeline_.gallery.images


def test_without_a_gallery_the_model_holds_no_picture_and_the_layers_are_still_told(
    images: list[np.ndarray], tmp_path: Path
) -> None:
    detector = Detector("v2", SMALL | {"gallery.images": 0}, device="cpu").fit(images)
    _, region, reason = odd_one(detector)
    assert reason.nearest is None
    assert region.as_dict()["nearest"] is None
    assert sum(region.as_dict()["layers"].values()) == pytest.approx(1, abs=1e-3)
    detector.save(tmp_path / "model")
    from safetensors import safe_open

    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as tensors:
        assert not [name for name in tensors.keys() if name.startswith("gallery")]  # noqa: SIM118
    assert len(Detector.load(tmp_path / "model", device="cpu").pipeline_.gallery) == 0


def test_files_are_named_below_the_folder_they_are_learned_from(
    images: list[np.ndarray], tmp_path: Path
) -> None:
    names = [f"tag {i % 2}/零件 №{i} ü.png" for i in range(8)]
    for name, image in zip(names, images, strict=False):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / name)
    detector = Detector("v2", SMALL, device="cpu").fit([tmp_path / name for name in names])
    detector.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model", device="cpu")
    assert {one.name for one in again.pipeline_.gallery.images.values()} == set(names)


def test_the_box_on_a_good_image_is_in_its_own_pixels(images: list[np.ndarray]) -> None:
    """Learned large and of another shape than judged: places are shares of the frame."""
    large = [np.asarray(Image.fromarray(image).resize((288, 192))) for image in images]
    detector = Detector("v2", SMALL, device="cpu").fit(large)
    (verdict,) = detector.predict([spoiled(images[0])])
    region = verdict.regions[0]
    assert region.reason is not None
    assert (nearest := region.reason.nearest) is not None
    assert nearest.size == (192, 288)
    width, height = region.bbox[2] - region.bbox[0], region.bbox[3] - region.bbox[1]
    assert nearest.bbox[2] - nearest.bbox[0] == pytest.approx(3 * width, abs=1)
    assert nearest.bbox[3] - nearest.bbox[1] == pytest.approx(2 * height, abs=1)


def test_features_that_are_projected_or_shared_by_places_give_reasons_too(images: list[np.ndarray]) -> None:
    chosen = SMALL | {"gaussian.max_mb": 1.5, "gaussian.context_dimensions": 8, "features.layers": "3,4,5"}
    detector = Detector("v2", chosen, device="cpu").fit(images)
    assert detector.pipeline_.scorer.identity()["grid"]["dimensions"] < 232
    assert detector.pipeline_.scorer.identity()["grid"]["step"] > 1
    _, _, reason = odd_one(detector)
    assert reason.nearest is not None
    assert {one.layer for one in reason.layers} == {3, 4, 5}
    assert torch.tensor([one.share for one in reason.layers]).sum().item() == pytest.approx(1, abs=1e-5)


def test_adapted_pipelines_tell_no_reasons(images: list[np.ndarray]) -> None:
    plain = SMALL_IMAGES | {"lora.enabled": False}
    detector = Detector("v1.1", plain, device="cpu").fit(images)
    (verdict,) = detector.predict([np.full((96, 96, 3), 255, np.uint8)])
    assert verdict.anomalous
    assert verdict.explain is None
    assert verdict.regions
    for region in verdict.regions:
        assert region.as_dict()["nearest"] is None
        assert region.as_dict()["layers"] is None
