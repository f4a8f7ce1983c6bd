from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from anomalyvfm.errors import InputError
from anomalyvfm.features import backbones


def test_importing_the_room_loads_no_framework() -> None:
    frameworks = {"torch", "transformers", "safetensors"}
    code = f"import sys, anomalyvfm.features.backbones; print({frameworks} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "set()"


def test_names_cover_the_three_families() -> None:
    assert {"efficientnet-lite0", "dinov2-giant-reg", "dinov3-7b"} <= set(backbones.NAMES)
    assert len(backbones.NAMES) == len(set(backbones.NAMES)) == 17


@pytest.mark.parametrize(
    ("given", "suggested"),
    [
        ("dinov2-bass", "dinov2-base"),
        ("EfficientNet-Lite1", "efficientnet-lite1"),
        ("facebook/dinov2-large", "dinov2-large"),
        ("dinov3_small_plus", "dinov3-small-plus"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(given: str, suggested: str) -> None:
    with pytest.raises(InputError, match=f"unknown backbone '{given}'.*did you mean {suggested}\\?$"):
        backbones.load(given)


def test_a_name_near_to_none_is_answered_with_all() -> None:
    with pytest.raises(InputError, match=r"the names are efficientnet-lite0, .*, dinov3-7b"):
        backbones.load("zzz")


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(InputError, match=f"device '{device}' is not available"):
        backbones.load("efficientnet-lite0", device=device)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="use auto, fp32, bf16 or fp16"):
        backbones.load("efficientnet-lite0", precision="fp8")


@pytest.mark.parametrize(
    ("gpu", "cached", "chosen"),
    [
        (False, True, "efficientnet-lite0"),
        (True, False, "efficientnet-lite0"),
        (True, True, "dinov2-base"),
    ],
)
def test_auto_takes_the_large_network_where_it_runs_at_speed_and_is_there(
    gpu: bool, cached: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch.device("cuda" if gpu else "cpu")
    monkeypatch.setattr("anomalyvfm.features.backbones.backbone.resolve_device", lambda name: device)
    monkeypatch.setattr("anomalyvfm.features.backbones.checkpoint.is_cached", lambda repository: cached)
    assert backbones.choose("auto", "auto") == chosen
    assert backbones.choose("dinov2-small", "auto") == "dinov2-small"
