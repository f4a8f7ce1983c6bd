from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from accuracy import measure, table
from anomalyvfm.data import Sample
from anomalyvfm.features import backbones
from timm_names import timm_weights


def row(method: str, seed: int, run: str, value: float, seconds: float) -> dict[str, Any]:
    return {
        "data": "tiles",
        "method": method,
        "seed": seed,
        "run": run,
        "image_auroc": value,
        "aupro_0.30": None,
        "aupro_0.05": None,
        "fit_s": seconds,
        "predict_s": 2 * seconds,
    }


def test_the_table_compares_times_only_within_one_run() -> None:
    rows = [row("v2", 0, "a", 0.9, 10), row("v2", 1, "b", 0.8, 10)]
    rows += [row("padim-100", 0, "a", 0.7, 25), row("padim-100", 1, "c", 0.5, 90)]
    lines = table(rows, ["v2", "padim-100"]).splitlines()
    assert "| tiles | v2 | 0.8500 (0.8000 to 0.9000) | – | – | – | – | 1.00 (1.00 to 1.00) |" in lines[2]
    assert (
        "| tiles | padim-100 | 0.6000 (0.5000 to 0.7000) | – | – | – | – | 2.50 (2.50 to 2.50) |" in lines[3]
    )


def test_maps_are_measured_against_the_masks_of_their_images(tmp_path: Any) -> None:
    mask = np.zeros((96, 64), np.uint8)
    mask[24:48, 16:32] = 255
    Image.new("RGB", (64, 96)).save(tmp_path / "image.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    good, bad = Sample(tmp_path / "image.png", 0), Sample(tmp_path / "image.png", 1, tmp_path / "mask.png")
    right = mask.astype(np.float32)
    wrong = np.roll(right, 48, axis=0)
    for map_, value in ((right, 1), (wrong, 0)):
        found = measure([good, bad], [0.0, 1.0], [np.zeros_like(map_), map_])
        assert found["image_auroc"] == 1
        assert found["aupro_0.05"] == pytest.approx(value, abs=0.03)


def test_every_published_weight_before_the_classifier_has_one_name_in_timm() -> None:
    source = backbones.load("efficientnet-lite0").source
    published = torch.load(source, map_location="cpu", weights_only=True)
    found = timm_weights(published)
    behind = ("_conv_head.", "_bn1.", "_fc.")
    before = [tensor for name, tensor in published.items() if not name.startswith(behind)]
    assert len(found) == len(before)
    assert sum(tensor.numel() for tensor in found.values()) == sum(tensor.numel() for tensor in before)
    assert found["conv_stem.weight"].shape == (32, 3, 3, 3)
    assert found["blocks.0.0.conv_pw.weight"].shape == (16, 32, 1, 1)
    assert found["blocks.4.2.conv_pwl.weight"].shape == (112, 672, 1, 1)
