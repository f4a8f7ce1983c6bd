"""The backbone that remembers: the same features, computed once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anomalyvfm.errors import InputError
from anomalyvfm.features import backbones
from anomalyvfm.features.backbones.backbone import Backbone
from anomalyvfm.features.backbones.remembering import RememberingBackbone
from tests.checkpoints import save_tiny_dinov2


class Counted(Backbone):
    """Means of an image's quarters as patches; tells how many images it was given."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(
            name="counted",
            source="here",
            layers=(1,),
            stride=2,
            image_size=4,
            multiple=2,
            depth=1,
            layer_channels=(3,),
            summary_channels=2,
            weight_hash="0",
            device=torch.device("cpu"),
            precision="fp32",
        )
        self.images = 0
        self.seconds = seconds

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.images += len(images)
        time.sleep(self.seconds * len(images))
        height, width = images.shape[1] // 2, images.shape[2] // 2
        patches = images.float().reshape(-1, height, 2, width, 2, 3).mean((2, 4))
        return patches, patches.mean((1, 2))[:, :2]


def images(count: int, seed: int = 0, side: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator)


def test_features_are_those_of_the_other_backbone_computed_once(tmp_path: Path) -> None:
    inner = Counted()
    backbone = RememberingBackbone(inner, tmp_path / "features")
    first = images(3)
    for _ in range(2):
        seen = backbone(first)
        expected = Counted()(first)
        assert torch.equal(seen.patches, expected.patches)
        assert torch.equal(seen.summary, expected.summary)
    assert inner.images == 3
    mixed = torch.cat([images(2, seed=1), first.flip(0), images(1, seed=2)])
    assert torch.equal(backbone(mixed).patches, Counted()(mixed).patches)
    assert inner.images == 6


def test_equal_bytes_of_another_shape_are_another_image(tmp_path: Path) -> None:
    backbone = RememberingBackbone(Counted(), tmp_path / "features")
    square = images(1)
    assert backbone(square).patches.shape == (1, 2, 2, 3)
    assert backbone(square.reshape(1, 2, 8, 3)).patches.shape == (1, 1, 4, 3)
    assert backbone(square).patches.shape == (1, 2, 2, 3)


def test_the_time_saved_is_what_the_features_had_cost(tmp_path: Path) -> None:
    backbone = RememberingBackbone(Counted(seconds=0.02), tmp_path / "features")
    backbone(images(4))
    assert backbone.seconds_saved == 0
    backbone(images(4)[:3])
    assert 0.06 <= backbone.seconds_saved < 0.5


def test_detail_is_remembered_too(tmp_path: Path) -> None:
    inner = backbones.load("efficientnet-lite0", device="cpu", detail=True)
    backbone = RememberingBackbone(inner, tmp_path / "features")
    batch = images(2, side=64)
    expected = inner(batch)
    for _ in range(2):
        seen = backbone(batch)
        assert seen.detail is not None and expected.detail is not None
        assert torch.equal(seen.detail, expected.detail) and torch.equal(seen.summary, expected.summary)
    assert backbone.seconds_saved > 0 and backbone.detail_channels == 40


def test_it_stands_in_for_a_real_backbone(tmp_path: Path) -> None:
    inner = backbones.load(str(save_tiny_dinov2(tmp_path / "tiny")))
    backbone = RememberingBackbone(inner, tmp_path / "features")
    for name in ("name", "layers", "stride", "multiple", "image_size", "channels", "weight_hash", "device"):
        assert getattr(backbone, name) == getattr(inner, name)
    batch = images(2, side=28)
    assert torch.equal(backbone(batch).patches, inner(batch).patches)
    assert torch.equal(backbone(batch).summary, inner(batch).summary)
    with pytest.raises(InputError, match="multiples of 14"):
        backbone(images(1, side=27))


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    backbone = RememberingBackbone(Counted(), tmp_path / "features")
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(InputError, match=r"cannot be kept there .*set TMPDIR") as raised:
        backbone(images(1))
    assert "\n" not in str(raised.value)
