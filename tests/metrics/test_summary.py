from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from anomalyvfm.metrics.image import auroc
from anomalyvfm.metrics.pixel import PixelMetrics
from anomalyvfm.metrics.summary import summarise

PIXEL = {"pixel_auroc", "pixel_ap", "aupro_0.30", "aupro_0.05", "seg_f1_best"}
IMAGE = {"image_auroc", "image_ap", "image_f1", "class_f1", "false_alarm_rate", "detection_rate"}

SCORES = np.array([0.1, 0.4, 0.2, 0.9, 0.35, 0.8])
LABELS = np.array([0, 0, 0, 1, 1, 1], bool)
CONDITIONS = ["regular", "shift_1", "regular", "regular", "shift_1", None]
KINDS = [None, None, None, "crack", "hole", "crack"]


def pixels(condition: str | None = "all") -> PixelMetrics:
    collected = PixelMetrics()
    rng = np.random.default_rng(0)
    for label, taken in zip(LABELS, CONDITIONS, strict=True):
        if condition not in ("all", taken):
            continue
        mask = np.zeros((16, 16), bool)
        mask[:5, :5] = label
        collected.add(rng.random((16, 16)) + mask, mask, anomalous=bool(label))
    return collected


def summary(**changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "conditions": CONDITIONS,
        "kinds": KINDS,
        "pixels": pixels(),
        "resamples": 50,
    }
    return summarise(SCORES, LABELS, SCORES > 0.3, **(settings | changes))


def test_a_summary_is_plain_json_with_every_metric() -> None:
    result = summary()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert set(result) >= PIXEL | IMAGE | {"n_good", "n_bad", "by_condition", "by_kind"}
    assert all(isinstance(result[name], float) for name in PIXEL | IMAGE)
    assert set(result["intervals"]) == IMAGE
    assert set(result["bounds"]) == PIXEL
    assert result["reasons"] == {"seg_f1": "outlines are measured apart"}
    assert (result["n_good"], result["n_bad"]) == (3, 3)
    assert result["false_alarm_rate"] == pytest.approx(1 / 3)
    assert result["image_f1_threshold"] == 0.35
    assert 1 <= result["seg_f1_best_threshold"] <= 1.2


def test_a_condition_holds_its_own_good_and_defective_images() -> None:
    groups = summary()["by_condition"]
    assert set(groups) == {"regular", "shift_1"}
    assert (groups["regular"]["n_good"], groups["regular"]["n_bad"]) == (2, 1)
    assert groups["regular"]["image_auroc"] == 1
    assert groups["shift_1"]["image_auroc"] == 0


def test_a_condition_with_maps_of_its_own_has_pixel_metrics_too() -> None:
    groups = summary(condition_pixels={"regular": pixels("regular")})["by_condition"]
    assert groups["regular"]["aupro_0.05"] == pixels("regular").aupro(0.05).value
    assert set(groups["regular"]["bounds"]) == PIXEL
    assert not PIXEL & set(groups["shift_1"])


def test_a_kind_is_measured_against_all_good_images() -> None:
    groups = summary()["by_kind"]
    assert set(groups) == {"crack", "hole"}
    assert (groups["hole"]["n_good"], groups["hole"]["n_bad"]) == (3, 1)
    good_and_hole = [0, 1, 2, 4]
    assert groups["hole"]["image_auroc"] == auroc(SCORES[good_and_hole], LABELS[good_and_hole]).value
    assert groups["crack"]["detection_rate"] == 1


def test_without_maps_pixel_metrics_are_null_with_a_reason() -> None:
    result = summary(pixels=None)
    assert {result[name] for name in PIXEL} == {None}
    assert {result["reasons"][name] for name in PIXEL} == {"no score maps"}
    assert result["bounds"] == {}
    assert result["seg_f1_best_threshold"] is None


def test_without_conditions_and_kinds_there_are_no_groups() -> None:
    result = summary(conditions=None, kinds=None)
    assert result["by_condition"] == result["by_kind"] == {}


def test_no_images_at_all_is_all_null() -> None:
    result = summarise([], [], [], pixels=PixelMetrics())
    assert {result[name] for name in IMAGE} == {None}
    assert set(result["reasons"].values()) == {"no images", "outlines are measured apart"}


def test_lists_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 kinds for 6 images"):
        summary(kinds=["crack", "hole"])
