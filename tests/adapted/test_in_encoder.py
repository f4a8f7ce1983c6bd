"""LoRA and DoRA inside a transformer's attention."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from anomalyvfm.adapted.adapters import load_tensors, to_tensors
from anomalyvfm.adapted.in_encoder import InEncoderAdapter
from anomalyvfm.adapted.training.loop import TrainingData, train
from anomalyvfm.adapted.training.losses import Head
from anomalyvfm.errors import InputError
from anomalyvfm.features import backbones
from anomalyvfm.presets import TrainingSettings
from tests.checkpoints import save_tiny_vit

IMAGES = torch.randint(0, 256, (8, 56, 56, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_vit("Dinov2", tmp_path_factory.mktemp("vit"))


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("family", ["Dinov2", "Dinov2WithRegisters", "DINOv3ViT"])
def test_untrained_updates_change_nothing_and_reach_queries_and_values_of_every_block(
    family: str, dora: bool, tmp_path: Path
) -> None:
    backbone = backbones.load(str(save_tiny_vit(family, tmp_path)))
    before = backbone(IMAGES).summary
    adapter = InEncoderAdapter(backbone, rank=4, alpha=8, dora=dora)
    torch.testing.assert_close(backbone(IMAGES).summary, before)
    blocks, width = 3, 32
    per_layer = 2 * width * 4 + (width if dora else 0)
    assert sum(parameter.numel() for parameter in adapter.parameters()) == blocks * 2 * per_layer
    assert all(parameter.requires_grad for parameter in adapter.parameters())


@pytest.mark.parametrize("dora", [False, True])
def test_training_changes_the_features_but_no_published_weight(dinov2: Path, dora: bool) -> None:
    backbone = backbones.load(str(dinov2))
    untouched = {
        name: parameter.clone()
        for name, parameter in backbone.model.named_parameters()  # type: ignore[attr-defined]
    }
    before = backbone(IMAGES).summary
    adapter = InEncoderAdapter(backbone, rank=4, alpha=8, dora=dora)
    data = TrainingData(IMAGES[:4], 255 - IMAGES[4:])
    settings = TrainingSettings(epochs=6, batch=4, learning_rate=3e-3)
    train(adapter, Head(backbone.summary_channels), data, settings)
    assert (backbone(IMAGES).summary - before).abs().max() > 1e-3
    after = {
        name.replace(".base_layer", ""): parameter
        for name, parameter in backbone.model.named_parameters()  # type: ignore[attr-defined]
        if "lora" not in name
    }
    assert after.keys() == untouched.keys()
    for name, parameter in after.items():
        assert (
            torch.equal(parameter, untouched[name]) and parameter.grad is None and not parameter.requires_grad
        )


def test_stored_updates_come_back_and_hold_nothing_of_the_backbone(dinov2: Path) -> None:
    trained = backbones.load(str(dinov2))
    adapter = InEncoderAdapter(trained, rank=4, alpha=8)
    data = TrainingData(IMAGES[:4], 255 - IMAGES[4:])
    train(adapter, Head(32), data, TrainingSettings(epochs=2, batch=4, learning_rate=3e-3))
    tensors = to_tensors(adapter, "encoder")
    assert sum(tensor.numel() for tensor in tensors.values()) == 3 * 2 * 2 * 32 * 4
    fresh = backbones.load(str(dinov2))
    load_tensors(InEncoderAdapter(fresh, rank=4, alpha=8, seed=3), tensors, "encoder")
    assert torch.equal(fresh(IMAGES).summary, trained(IMAGES).summary)


def test_the_seed_sets_the_weights_and_the_global_random_state_is_left_alone(dinov2: Path) -> None:
    state = torch.random.get_rng_state()
    one, same, other = (
        to_tensors(InEncoderAdapter(backbones.load(str(dinov2)), 2, 4, seed=seed), "e") for seed in (1, 1, 2)
    )
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_backbones_without_attention_ranks_too_high_and_second_adapters_are_refused(dinov2: Path) -> None:
    with pytest.raises(InputError, match="efficientnet-lite0 has no attention"):
        InEncoderAdapter(backbones.load("efficientnet-lite0"), rank=4, alpha=8)
    backbone = backbones.load(str(dinov2))
    with pytest.raises(InputError, match="LoRA rank 33 with features of 32 dimensions"):
        InEncoderAdapter(backbone, rank=33, alpha=8)
    InEncoderAdapter(backbone, rank=2, alpha=8)
    with pytest.raises(InputError, match="has LoRA in its encoder already"):
        InEncoderAdapter(backbone, rank=2, alpha=8)


def test_without_peft_the_error_says_what_to_install(dinov2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = backbones.load(str(dinov2))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"needs peft.*pip install 'anomalyvfm\[train\]'"):
        InEncoderAdapter(backbone, rank=2, alpha=8)
