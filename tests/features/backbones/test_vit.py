from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from anomalyvfm.errors import InputError
from anomalyvfm.features import backbones
from tests.checkpoints import save_tiny_vit

FAMILIES = ("Dinov2", "Dinov2WithRegisters", "DINOv3ViT")


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_vit(request.param, tmp_path_factory.mktemp(request.param))


def random_images(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)


def transformers_forward(folder: Path, images: torch.Tensor) -> tuple[Any, Any]:
    """The whole model, uncut, as its own library loads and runs it."""
    import transformers

    model = transformers.AutoModel.from_pretrained(folder).eval()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    pixels = (images.permute(0, 3, 1, 2) / 255.0 - mean) / std
    with torch.no_grad():
        return model, model(pixel_values=pixels, output_hidden_states=True)


@pytest.mark.parametrize("size", [(56, 56), (70, 70), (42, 98), (28, 112)])
def test_last_layer_is_what_transformers_itself_puts_out(folder: Path, size: tuple[int, int]) -> None:
    patch = 14
    images = random_images(2, *size)
    model, expected = transformers_forward(folder, images)
    prefix = 1 + getattr(model.config, "num_register_tokens", 0)

    backbone = backbones.load(str(folder))
    features = backbone(images)

    rows, columns = size[0] // patch, size[1] // patch
    assert features.patches.shape == (2, rows, columns, 32)
    assert features.patches.dtype == features.summary.dtype == torch.float32
    torch.testing.assert_close(features.patches.flatten(1, 2), expected.last_hidden_state[:, prefix:])
    torch.testing.assert_close(features.summary, expected.last_hidden_state[:, 0])
    assert (backbone.layers, backbone.stride, backbone.multiple) == ((3,), patch, patch)
    assert (backbone.channels, backbone.summary_channels) == (32, 32)


def test_several_layers_are_normalised_and_joined_in_ascending_order(folder: Path) -> None:
    images = random_images(1, 42, 56)
    model, expected = transformers_forward(folder, images)
    norm = model.layernorm if hasattr(model, "layernorm") else model.norm
    prefix = 1 + getattr(model.config, "num_register_tokens", 0)
    with torch.no_grad():
        first, second = (norm(expected.hidden_states[i]) for i in (1, 2))

    backbone = backbones.load(str(folder), layers=[2, 1])
    features = backbone(images)

    joined = torch.cat([first, second], dim=2)[:, prefix:].reshape(1, 3, 4, 64)
    torch.testing.assert_close(features.patches, joined)
    torch.testing.assert_close(features.summary, second[:, 0])
    assert (backbone.layers, backbone.channels, backbone.summary_channels) == ((1, 2), 64, 32)


def test_a_changed_patch_shows_at_its_own_cell_of_the_grid(folder: Path) -> None:
    backbone = backbones.load(str(folder), layers=[1])
    images = torch.full((1, 56, 84, 3), 90, dtype=torch.uint8)
    changed = images.clone()
    changed[:, 14:28, 56:70] = torch.tensor([250, 20, 20], dtype=torch.uint8)  # row 1, column 4
    change = (backbone(changed).patches - backbone(images).patches).norm(dim=3)[0]
    assert divmod(int(change.argmax()), change.shape[1]) == (1, 4)


def test_an_image_does_not_depend_on_its_batch(folder: Path) -> None:
    backbone = backbones.load(str(folder))
    images = random_images(5, 56, 70)
    together, alone = backbone(images), backbone(images[3:4])
    torch.testing.assert_close(together.patches[3:4], alone.patches, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together.summary[3:4], alone.summary, rtol=1e-5, atol=1e-5)


def test_features_can_be_trained_on(folder: Path) -> None:
    features = backbones.load(str(folder))(random_images(1, 28, 28))
    adapter = torch.nn.Linear(32, 1)
    adapter(features.patches).sum().backward()
    assert adapter.weight.grad is not None
    assert not features.patches.requires_grad


def test_half_precision_comes_out_as_float32_and_close(folder: Path) -> None:
    images = random_images(1, 56, 56)
    full = backbones.load(str(folder))(images)
    half = backbones.load(str(folder), precision="bf16")(images)
    assert half.patches.dtype == half.summary.dtype == torch.float32
    difference = (full.patches - half.patches).norm() / full.patches.norm()
    assert 0 < difference < 0.05


def test_a_side_that_is_no_multiple_of_the_patch_names_the_size_that_is(folder: Path) -> None:
    with pytest.raises(InputError, match="multiples of 14 pixels, not 60 × 56: resize to 56 × 56"):
        backbones.load(str(folder))(random_images(1, 60, 56))


@pytest.mark.parametrize("layers", [[0], [4], [], [1, 9]])
def test_layers_that_are_not_there_are_refused(folder: Path, layers: list[int]) -> None:
    with pytest.raises(InputError, match="has layers 1 to 3"):
        backbones.load(str(folder), layers=layers)


def test_loading_writes_nothing_to_the_terminal(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    backbones.load(str(folder), layers=[1])
    assert capfd.readouterr() == ("", "")
