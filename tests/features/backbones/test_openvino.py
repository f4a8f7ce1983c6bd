from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_sample_image
from torch import Tensor

from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.features import backbones
from anomalyvfm.features.backbones import backbone as features
from anomalyvfm.features.backbones import vit
from anomalyvfm.features.backbones.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """A temple roof and a flower, (2, 64, 96, 3) uint8."""
    pictures = [load_sample_image(name)[100:164, 150:246] for name in ("china.jpg", "flower.jpg")]
    return torch.from_numpy(np.stack(pictures))


@pytest.mark.parametrize(("layers", "detail"), [((1,), False), ((4, 5), True), ((3, 5, 7), True)])
def test_openvino_sees_what_torch_sees(photos: Tensor, layers: tuple[int, ...], detail: bool) -> None:
    mine = backbones.load("efficientnet-lite0", layers=layers, device="openvino", detail=detail)
    torchs = backbones.load("efficientnet-lite0", layers=layers, device="cpu", detail=detail)
    assert (mine.backend, torchs.backend) == ("openvino", "torch")
    seen, expected = mine(photos), torchs(photos)
    size = expected.patches.abs().max()
    torch.testing.assert_close(seen.patches, expected.patches, atol=1e-5 * float(size), rtol=0)
    torch.testing.assert_close(seen.summary, expected.summary, atol=1e-5 * float(size), rtol=0)
    assert (seen.detail is not None) is detail
    if seen.detail is not None and expected.detail is not None:
        size = expected.detail.abs().max()
        torch.testing.assert_close(seen.detail, expected.detail, atol=1e-5 * float(size), rtol=0)


@given(order=st.lists(st.integers(0, 1), min_size=1, max_size=5))
@settings(max_examples=10, deadline=None)
def test_what_an_image_is_batched_with_changes_no_bit(photos: Tensor, order: list[int]) -> None:
    backbone = backbones.load("efficientnet-lite0", device="openvino")
    together = backbone(photos[order])
    for row, number in enumerate(order):
        alone = backbone(photos[number : number + 1])
        assert torch.equal(together.patches[row], alone.patches[0])
        assert torch.equal(together.summary[row], alone.summary[0])


def test_results_are_the_callers_own(photos: Tensor) -> None:
    backbone = backbones.load("efficientnet-lite0", device="openvino")
    first = backbone(photos[:1]).patches
    before = first.clone()
    backbone(photos[1:])
    assert torch.equal(first, before)


def test_a_model_judges_alike_on_either_backend(tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = np.random.default_rng(0)
    good = [rng.integers(90, 160, (64, 64, 3), dtype=np.uint8) for _ in range(12)]
    odd = good[0].copy()
    odd[20:40, 20:40] = 255
    settings_ = {"backbone": "efficientnet-lite0", "image.size": 64}
    folder = tmp_path_factory.mktemp("backend") / "model"
    fitted = Detector("v2", settings_, device="openvino").fit(good)
    fitted.save(folder)
    (mine,) = fitted.predict([odd])
    (torchs,) = Detector.load(folder, device="cpu").predict([odd])
    assert mine.score == pytest.approx(torchs.score, rel=1e-3)
    np.testing.assert_allclose(mine.anomaly_map, torchs.anomaly_map, rtol=1e-3, atol=1e-3)


def test_auto_takes_openvino_only_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backbones.load("efficientnet-lite0", device="auto").backend == "openvino"
    monkeypatch.setattr(features, "INSTALLED", False)
    assert backbones.load("efficientnet-lite0", device="auto").backend == "torch"
    with pytest.raises(InputError, match="not installed"):
        backbones.load("efficientnet-lite0", device="openvino")


def test_what_is_said_of_a_cpu_is_what_auto_takes() -> None:
    assert backbones.cpu_backend("efficientnet-lite0") == "openvino"
    assert backbones.cpu_backend("dinov2-base") == "torch"


def test_another_precision_is_torchs_business() -> None:
    assert backbones.load("efficientnet-lite0", device="auto", precision="bf16").backend == "torch"
    with pytest.raises(InputError, match="fp32"):
        backbones.load("efficientnet-lite0", device="openvino", precision="bf16")


def test_a_transformer_is_not_run_by_openvino() -> None:
    never_read: Checkpoint = None  # type: ignore[assignment] # the device is refused first
    with pytest.raises(InputError, match="OpenVINO"):
        vit.load("dinov2-small", never_read, device="openvino")
