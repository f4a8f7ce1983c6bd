"""Which odd regions count: least area and level, and zones with their own; and what follows for the image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyvfm.data import InputFrame
from anomalyvfm.data.roi import Roi, Zone
from anomalyvfm.data.roi_files import read_roi
from anomalyvfm.decision.regions import Rules, outlined
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from tests.conftest import SMALL, SMALL_IMAGES
from tests.test_roi import SIDE, Pixels, parts

LEVELS = (2.5, 6.0)
POINT = (1.0, 1.0)


def box(top: int, left: int, height: int, width: int, side: int = 64) -> NDArray[np.bool_]:
    mask = np.zeros((side, side), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def three_spots() -> NDArray[np.float32]:
    """A weak spot of 4x4 at the upper left, a strong one of 2x2 in the middle, one of 8x8 at the right."""
    map_ = np.zeros((64, 64), np.float32)
    map_[4:8, 4:8], map_[30:32, 30:32], map_[40:48, 50:58] = 4, 20, 9
    return map_


def peaks(rules: Rules, map_: NDArray[np.float32] | None = None) -> list[float]:
    mask, regions = outlined(three_spots() if map_ is None else map_, *LEVELS, POINT, rules=rules)
    assert mask.sum() == sum(region.area for region in regions)
    return [region.peak for region in regions]


def test_the_least_area_and_level_take_out_what_is_below_them() -> None:
    assert peaks(Rules()) == [20, 9]
    assert peaks(Rules(area=4)) == [20, 9]
    assert peaks(Rules(area=5)) == [9]
    assert peaks(Rules(level=9)) == [20, 9]
    assert peaks(Rules(level=9.5)) == [20]
    assert peaks(Rules(level=9.5, area=5)) == []
    weak = np.minimum(three_spots(), 4)
    assert peaks(Rules(), weak) == [4, 4, 4] and peaks(Rules(level=5), weak) == []


def test_a_zone_has_its_own_level_and_area() -> None:
    everywhere = np.ones((64, 64), bool)
    weld, print_ = box(0, 0, 20, 20), box(20, 20, 20, 20)

    def of(*zones: Zone, **rules: Any) -> list[float]:
        return peaks(Rules(roi=Roi(everywhere, zones), **rules))

    assert of(Zone("weld", weld, level=3)) == [20, 9, 4]
    assert of(Zone("weld", weld, level=4.5)) == [20, 9]
    assert of(Zone("print", print_, level=25)) == [9]
    assert of(Zone("print", print_, area=5)) == [9]
    assert of(Zone("print", print_, area=4), area=30) == [20, 9]
    assert of(Zone("print", print_), area=30) == [9]
    first, second = Zone("first", print_, level=25), Zone("second", everywhere, level=1)
    assert of(first, second) == [9, 4]
    _, regions = outlined(three_spots(), *LEVELS, POINT, rules=Rules(roi=Roi(everywhere, (first, second))))
    assert [region.as_dict()["zone"] for region in regions] == ["second", "second"]


@given(st.integers(0, 2**32), st.floats(0, 12), st.integers(0, 60), st.integers(1, 3))
def test_rules_only_take_out(seed: int, level: float, area: int, scale: int) -> None:
    """Whatever the map, and at whatever size it was drawn, the regions are those that are large enough."""
    map_ = np.random.default_rng(seed).lognormal(0, 1.2, (32, 32)).astype(np.float32)
    half = np.zeros((32 * scale, 32 * scale), bool)
    half[:, : 16 * scale] = True
    rules = Rules(level, area, Roi(np.ones_like(half), (Zone("left", half, area=2 * area),)))
    _, every = outlined(map_, *LEVELS, POINT)
    _, found = outlined(map_, *LEVELS, POINT, rules=rules)
    left = [region.peak_at[0] < 16 for region in every]
    expected = [
        replace(region, zone="left" if there else None)
        for region, there in zip(every, left, strict=True)
        if region.peak >= level and region.area >= area * (2 if there else 1)
    ]
    assert list(found) == expected


def verdict_of(least: tuple[float, int], score: float = 9.0, light: float | None = None) -> Verdict:
    return Verdict(
        score=score,
        p_value=0.01,
        anomalous=score > 3,
        threshold=3.0,
        anomaly_map=three_spots(),
        size=(64, 64),
        frame=InputFrame(64, 64),
        low_threshold=LEVELS[0],
        high_threshold=LEVELS[1],
        seconds=0.0,
        summary=np.zeros(1, np.float32),
        light=light,
        least=least,
    ).by_regions()


def test_an_image_without_a_region_that_counts_is_good_and_says_so() -> None:
    found = verdict_of((0.0, 5))
    assert found.anomalous and not found.excused and len(found.regions) == 1
    excused = verdict_of((25.0, 0))
    assert not excused.anomalous and excused.excused and excused.as_dict()["excused"] is True
    assert excused.regions == () and not excused.mask.any()
    good = verdict_of((25.0, 0), score=1.0)
    assert not good.anomalous and not good.excused
    assert "excused" not in verdict_of((0.0, 0)).as_dict()
    dark = verdict_of((25.0, 0), light=5.0)
    assert dark.anomalous, "odd light is of the whole image: no rule for regions excuses it"


@pytest.fixture(scope="module")
def spoilt() -> list[Pixels]:
    """A blot at the upper left, one at the lower right, and a good part."""
    images = parts(3, 1)
    images[0][10:30, 10:30] = 255
    images[1][80:100, 80:100] = 255
    return images


@pytest.fixture(scope="module")
def fitted() -> Detector:
    corner = Zone("corner", box(0, 0, 60, 60, SIDE), level=1e6)
    roi = Roi(np.ones((SIDE, SIDE), bool), (corner,))
    return Detector("v2", SMALL, device="cpu").fit(parts(12, 0), roi=roi)


def test_a_model_keeps_its_zones(fitted: Detector, spoilt: list[Pixels], tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    loaded = Detector.load(tmp_path / "model", device="cpu")
    for detector in (fitted, loaded):
        in_corner, elsewhere, good = detector.predict(spoilt)
        assert in_corner.score > in_corner.threshold and in_corner.excused
        assert elsewhere.anomalous and elsewhere.regions
        assert not good.anomalous and not good.excused
    stricter = Detector.load(tmp_path / "model", device="cpu", reading={"regions.min_area": SIDE * SIDE})
    assert [verdict.anomalous for verdict in stricter.predict(spoilt)] == [False, False, False]


def test_an_exported_model_keeps_them(fitted: Detector, spoilt: list[Pixels], tmp_path: Path) -> None:
    """In one kind alone: the rules are no part of the graph."""
    pytest.importorskip("onnxruntime")
    from anomalyvfm.export.exporting import export
    from anomalyvfm.runtime import load

    export(fitted, tmp_path / "onnx", "onnx")
    found = load(tmp_path / "onnx").predict(spoilt)
    assert [verdict.anomalous for verdict in found] == [False, True, False] and found[0].excused
    stricter = load(tmp_path / "onnx", reading={"regions.min_area": str(SIDE * SIDE)})
    assert [verdict.anomalous for verdict in stricter.predict(spoilt)] == [False, False, False]
    with pytest.raises(InputError, match=r"regions\.min_level: -1: give 0 or more"):
        load(tmp_path / "onnx", reading={"regions.min_level": "-1"})


def test_an_inspection_is_shown_as_it_was_judged(fitted: Detector, spoilt: list[Pixels]) -> None:
    from anomalyvfm.server.inspections.verdicts import columns, map_content, restore

    for verdict in fitted.predict(spoilt):
        kept: Any = SimpleNamespace(**columns(verdict))
        shown = restore(kept, map_content(verdict))
        np.testing.assert_array_equal(shown.mask, verdict.mask)
        assert shown.excused == verdict.excused
        assert shown.own_thresholds == verdict.own_thresholds
        assert [one.zone for one in shown.regions] == [one.zone for one in verdict.regions]


def test_pipelines_of_one_vector_follow_the_least_area(spoilt: list[Pixels]) -> None:
    settings = {**SMALL_IMAGES, "lora.enabled": False, "regions.min_area": SIDE * SIDE}
    found = Detector("v1.2", settings, device="cpu").fit(parts(12, 0)).predict(spoilt)
    assert any(verdict.score > verdict.threshold for verdict in found)
    assert not any(verdict.anomalous for verdict in found)


def test_zones_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "roi.json"
    square = [[2, 3], [7, 3], [7, 8], [2, 8]]

    def of(**body: Any) -> Roi:
        path.write_text(json.dumps({"size": [12, 10], **body}), encoding="utf-8")
        return read_roi(path)

    roi = of(zones=[{"name": "weld", "polygons": [square], "level": 5, "area": 12}])
    (zone,) = roi.zones
    assert (zone.name, zone.level, zone.area) == ("weld", 5.0, 12) and roi.mask.all()
    np.testing.assert_array_equal(zone.mask, box(3, 2, 6, 6, 12)[:10])
    (again,) = Roi.stored(json.loads(json.dumps(roi.describe()))).zones
    assert (again.name, again.level, again.area) == ("weld", 5.0, 12)
    np.testing.assert_array_equal(again.mask, zone.mask)
    weld = {"name": "weld", "polygons": [square]}
    for body, why in (
        ({"zones": [weld, weld]}, "two zones are named weld"),
        ({"zones": [{"name": "weld", "polygons": []}]}, "zones.0.polygons"),
        ({"zones": [{**weld, "level": -1}]}, "zones.0.level"),
        ({"zones": [{**weld, "polygons": [square[:2]]}]}, "polygon 1 has 2 corners"),
        ({"zones": [weld], "ignore": [square]}, "zone weld: lies where nothing counts"),
    ):
        with pytest.raises(InputError, match=why) as refused:
            of(**body)
        assert str(path) in str(refused.value)
    of(zones=[weld])
    with pytest.raises(InputError, match="zones say what counts"):
        read_roi(None, path)
