"""A region of interest: what lies outside is neither learned nor judged, whatever it shows."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.data import ImageError, InputFrame
from anomalyvfm.data.defects import Defect
from anomalyvfm.data.roi import Roi
from anomalyvfm.data.roi_files import read_roi
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.runtime import load
from tests.conftest import SMALL, SMALL_IMAGES
from tests.export.exports import in_both_kinds

SIDE = 120
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def region() -> Roi:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[20:90, 10:100] = True
    mask[40:50, 40:50] = False
    return Roi(mask)


def parts(count: int, seed: int) -> list[Pixels]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    pattern = 120 + 40 * np.sin(x / 7) + 30 * np.cos(y / 9)
    noisy = (pattern + rng.normal(0, 6, (SIDE, SIDE)) for _ in range(count))
    return [np.repeat(one.clip(0, 255).astype(np.uint8)[..., None], 3, 2) for one in noisy]


def scrawled(images: list[Pixels], region: Roi, seed: int) -> list[Pixels]:
    """The images, with noise and colour wherever nothing counts."""
    rng = np.random.default_rng(seed)
    noise = (rng.integers(0, 256, image.shape, dtype=np.uint8) for image in images)
    return [
        np.where(region.mask[..., None], image, other) for image, other in zip(images, noise, strict=True)
    ]


@pytest.fixture(scope="module")
def fitted(region: Roi) -> Detector:
    overrides = {**SMALL, "gaussian.judge_light": True}
    return Detector("v2", overrides, device="cpu").fit(parts(12, 0), roi=region)


def parts_with_a_spot(count: int) -> list[Pixels]:
    images = parts(count, 7)
    for number, image in enumerate(images):
        image[60:72, 30 + 8 * number : 42 + 8 * number] = 255
    return images


@pytest.fixture(scope="module")
def spoilt() -> list[Pixels]:
    images = parts(4, 1)
    images[0][60:76, 60:76] = 255
    images[1][95:120, 95:120] = 255
    return images


@pytest.mark.parametrize("window", [None, 4])
def test_what_lies_outside_changes_nothing_learned_and_no_verdict(region: Roi, window: int | None) -> None:
    images, new = parts(8, 0), parts(3, 1)
    new[0][60:76, 60:76] = 255
    overrides = {**SMALL, "gaussian.window": window, "gaussian.judge_light": True}
    expected, found = (
        Detector("v2", overrides, device="cpu").fit(learned, roi=region)
        for learned in (images, scrawled(images, region, 2))
    )
    tensors = expected.pipeline_.to_tensors()
    for name, tensor in found.pipeline_.to_tensors().items():
        np.testing.assert_array_equal(tensor.numpy(), tensors[name].numpy(), err_msg=name)
    for mine, theirs in zip(expected.predict(new), found.predict(scrawled(new, region, 3)), strict=True):
        assert mine.score == theirs.score
        np.testing.assert_array_equal(mine.map, theirs.map)
        assert mine.regions == theirs.regions


def test_a_defect_inside_is_found_and_outlined_inside_alone(fitted: Detector, spoilt: list[Pixels]) -> None:
    inside, outside, *good = fitted.predict(spoilt)
    assert inside.anomalous and inside.mask[60:76, 60:76].mean() > 0.5
    assert fitted.roi_ is not None and not inside.mask[~fitted.roi_.mask].any()
    assert outside.score < inside.score / 2 and not outside.mask.any()
    assert not inside.map[~fitted.roi_.mask].any()
    assert max(verdict.score for verdict in good) < inside.score


def test_what_is_like_a_confirmed_defect_is_raised_inside_alone(
    fitted: Detector, spoilt: list[Pixels], region: Roi
) -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[22:34, 12:24] = True
    spots = parts_with_a_spot(3)
    for spot in spots:
        spot[mask] = 250
    taught = fitted.clone().confirm([Defect(spot, mask) for spot in spots])
    before, after = (detector.predict([*spots, *spoilt]) for detector in (fitted, taught))
    nothing = [(map_ == map_.min()) for map_ in (one.anomaly_map for one in before)]
    assert all(outside.mean() > 0.3 for outside in nothing)
    for outside, one in zip(nothing, after, strict=True):
        assert (one.anomaly_map[outside] == one.anomaly_map.min()).all()
    assert after[0].anomaly_map.max() > before[0].anomaly_map.max() + 3


def test_it_is_kept_in_the_model(fitted: Detector, spoilt: list[Pixels], tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    loaded = Detector.load(tmp_path / "model", device="cpu")
    assert loaded.roi_ is not None and fitted.roi_ is not None
    np.testing.assert_array_equal(loaded.roi_.mask, fitted.roi_.mask)
    for mine, theirs in zip(fitted.predict(spoilt), loaded.predict(spoilt), strict=True):
        assert mine.score == theirs.score
        np.testing.assert_array_equal(mine.mask, theirs.mask)


def test_an_inspection_is_shown_as_it_was_judged(fitted: Detector, spoilt: list[Pixels]) -> None:
    from anomalyvfm.server.inspections.verdicts import columns, map_content, restore

    verdict = fitted.predict(spoilt)[0]
    kept: Any = SimpleNamespace(**columns(verdict))
    shown = restore(kept, map_content(verdict))
    np.testing.assert_array_equal(shown.map, verdict.map)
    np.testing.assert_array_equal(shown.mask, verdict.mask)


def test_an_exported_model_honours_it(
    fitted: Detector, region: Roi, spoilt: list[Pixels], tmp_path: Path
) -> None:
    """One that knows of defects, too: these are looked for among the patches that count."""
    taught = fitted.clone().confirm([Defect(image) for image in parts_with_a_spot(3)])
    expected = taught.predict(spoilt)
    for kind in in_both_kinds(taught, tmp_path):
        found = load(tmp_path / kind).predict(scrawled(spoilt, region, 4))
        for mine, theirs in zip(expected, found, strict=True):
            assert theirs.score == pytest.approx(mine.score, abs=0.05), kind
            assert not theirs.mask[~region.mask].any(), kind
        assert found[0].anomalous and found[0].mask.any(), kind


def test_models_of_different_regions_do_not_merge(fitted: Detector) -> None:
    other = Detector("v2", {**SMALL, "gaussian.judge_light": True}, device="cpu").fit(parts(12, 0))
    with pytest.raises(InputError, match="roi"):
        fitted.merge(other)
    with pytest.raises(InputError, match="roi"):
        other.merge(fitted)


def test_images_of_another_shape_are_refused(fitted: Detector, region: Roi) -> None:
    with pytest.raises(ImageError, match=r"200×120 pixels.*120×120"):
        fitted.predict(np.zeros((120, 200, 3), np.uint8))
    with pytest.raises(InputError, match="draw it on one of the images"):
        Detector("v2", SMALL, device="cpu").fit([np.zeros((50, 100, 3), np.uint8)] * 2, roi=region)
    with pytest.raises(InputError, match="judges whole images"):
        Detector("v1.2", SMALL_IMAGES, device="cpu").fit(parts(3, 0), roi=region)


@given(arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))).filter(np.any))
def test_a_mask_is_stored_exactly(mask: NDArray[np.bool_]) -> None:
    found = Roi.stored(json.loads(json.dumps(Roi(mask).describe())))
    np.testing.assert_array_equal(found.mask, mask)


@given(
    arrays(bool, st.tuples(st.integers(8, 60), st.integers(8, 60))).filter(np.any),
    st.integers(8, 40),
    st.integers(8, 40),
    st.sampled_from(["stretch", "keep"]),
)
def test_no_outside_pixel_has_a_part_in_the_frame(
    mask: NDArray[np.bool_], height: int, width: int, aspect: str
) -> None:
    frame = InputFrame(height, width, aspect)  # type: ignore[arg-type]
    inside = Roi(mask).in_frame(frame)
    black = np.zeros((*mask.shape, 3), np.uint8)
    white = np.where(mask[..., None], black, np.uint8(255))
    np.testing.assert_array_equal(frame.place(white)[inside], frame.place(black)[inside])


@pytest.mark.parametrize(
    ("description", "why"),
    [
        ({"size": [4, 4], "runs": [0, 99]}, "broken"),
        ({"size": [10**9, 10**9], "runs": [0, 10**18]}, "broken"),
        ({"size": [4, 4], "runs": [-16, 32]}, "broken"),
    ],
)
def test_a_broken_one_is_refused(description: dict[str, object], why: str) -> None:
    with pytest.raises(InputError, match=why):
        Roi.stored(description)


def drawn_in(folder: Path, body: object) -> Path:
    path = folder / "roi.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def test_polygons_and_masks_say_the_same(tmp_path: Path) -> None:
    square = [[2, 3], [7, 3], [7, 8], [2, 8]]
    found = read_roi(drawn_in(tmp_path, {"size": [12, 10], "polygons": [square]}))
    mask = np.zeros((10, 12), np.uint8)
    mask[3:9, 2:8] = 255
    Image.fromarray(mask).save(tmp_path / "roi.png")
    np.testing.assert_array_equal(found.mask, read_roi(tmp_path / "roi.png").mask)
    without = read_roi(None, tmp_path / "roi.png")
    np.testing.assert_array_equal(without.mask, ~found.mask)
    ignoring = read_roi(drawn_in(tmp_path, {"size": [12, 10], "ignore": [square]}))
    np.testing.assert_array_equal(ignoring.mask, ~found.mask)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"polygons": []}, "size: Field required"),
        ({"size": [10, 10], "polygons": [[[1, 1], [2, 2]]]}, "polygon 1 has 2 corners"),
        ({"size": [0, 10]}, "width and height"),
        ({"size": [10, 10], "polygon": []}, "Extra inputs"),
        ({"size": [10, 10], "polygons": [[[20, 20], [30, 20], [30, 30]]]}, "marks nothing"),
    ],
)
def test_what_is_wrong_with_polygons_is_said(body: object, why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why):
        read_roi(drawn_in(tmp_path, body))


def test_what_is_wrong_with_masks_is_said(tmp_path: Path) -> None:
    for name, value, size in (("black.png", 0, 8), ("white.png", 255, 8), ("large.png", 255, 16)):
        Image.fromarray(np.full((size, size), value, np.uint8)).save(tmp_path / name)
    with pytest.raises(InputError, match=r"black\.png: marks nothing"):
        read_roi(tmp_path / "black.png")
    with pytest.raises(InputError, match=r"white\.png: covers all"):
        read_roi(tmp_path / "white.png", tmp_path / "white.png")
    with pytest.raises(InputError, match=r"white\.png: 8×8 pixels, the region 16×16"):
        read_roi(tmp_path / "large.png", tmp_path / "white.png")
    with pytest.raises(InputError, match=r"missing\.json"):
        read_roi(tmp_path / "missing.json")
    speck = np.zeros((100, 100), bool)
    speck[50, 50] = True
    with pytest.raises(InputError, match="leaves no patch"):
        Roi(speck).on_grid(InputFrame(96, 96), (6, 6))
