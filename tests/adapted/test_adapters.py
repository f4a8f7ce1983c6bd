"""The three forms of feature adapters."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anomalyvfm.adapted.adapters import (
    Adapter,
    ChainAdapter,
    Form,
    GatedLayer,
    ScaledLayer,
    attention_heads,
    build,
)
from anomalyvfm.errors import InputError

FORMS: tuple[Form, ...] = ("chain", "gated", "multiscale")


def _features(adapter: Adapter, *leading: int) -> torch.Tensor:
    trailing = (adapter.width,) if adapter.scales == 1 else (adapter.scales, adapter.width)
    return torch.randn(*leading, *trailing, generator=torch.Generator().manual_seed(1))


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _perturbed(adapter: Adapter) -> Adapter:
    """As after some training: B is no longer zero."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if name.endswith(".b"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return adapter


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("leading", [(2,), (3, 4, 5)])
def test_summaries_and_patches_alike_keep_their_shape(form: Form, leading: tuple[int, ...]) -> None:
    adapter = build(form, 24, rank=4, alpha=8)
    assert adapter(_features(adapter, *leading)).shape == (*leading, 24)


@pytest.mark.parametrize("form", FORMS)
def test_each_vector_is_adapted_by_itself(form: Form) -> None:
    adapter = _perturbed(build(form, 24, rank=4, alpha=8)).eval()
    patches = _features(adapter, 2, 3, 3)
    whole = adapter(patches)
    torch.testing.assert_close(whole[1, 2, 0], adapter(patches[1:2, 2, 0])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_untrained_chain_changes_nothing(training: bool) -> None:
    adapter = build("chain", 152, rank=16, alpha=32).train(training)
    features = _features(adapter, 5)
    assert torch.equal(adapter(features), features)


@pytest.mark.parametrize("layer", [GatedLayer(16, 4, 8, 0.1), ScaledLayer(16, 4, 8, 0.1)])
def test_untrained_gated_layers_change_nothing(layer: torch.nn.Module) -> None:
    features = torch.randn(3, 16)
    out = layer(features)
    assert torch.equal(out[0] if isinstance(out, tuple) else out, features)


@settings(max_examples=25)
@given(width=st.integers(1, 40), data=st.data())
def test_the_chain_is_the_formula(width: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, width))
    alpha = data.draw(st.floats(0.1, 64))
    adapter = _perturbed(build("chain", width, rank=rank, alpha=alpha)).eval().double()
    features = torch.randn(4, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = features
    parameters = dict(adapter.named_parameters())
    for layer in range(3):
        a, b = parameters[f"layers.{layer}.a"], parameters[f"layers.{layer}.b"]
        assert a.shape == (width, rank) and b.shape == (rank, width)
        expected = expected + alpha / rank * (expected @ a @ b)
    torch.testing.assert_close(adapter(features), expected)


def test_a_is_drawn_with_a_deviation_of_one_hundredth() -> None:
    adapter = build("chain", 768, rank=16, alpha=32)
    assert isinstance(adapter, ChainAdapter)
    drawn = torch.cat(
        [parameter.flatten() for name, parameter in adapter.named_parameters() if name.endswith(".a")]
    )
    assert drawn.std().item() == pytest.approx(0.01, rel=0.02)
    assert drawn.mean().item() == pytest.approx(0, abs=2e-4)


def test_parameter_counts_are_those_of_the_layers_described() -> None:
    d, r = 768, 16
    low_rank = 2 * d * r
    attention = 4 * d * d + 4 * d
    assert _count(build("chain", d, rank=r, alpha=32)) == 3 * low_rank
    gate = _linear(d, d // 4) + _linear(d // 4, d // 8) + _linear(d // 8, 1)
    importance = _linear(d, d // 2) + _linear(d // 2, d)
    assert (
        _count(build("gated", d, rank=r, alpha=32)) == 3 * (low_rank + 2 * d + gate + importance) + attention
    )
    scaled = low_rank + 2 * d + _linear(d, d // 4) + _linear(d // 4, 1)
    fusion = _linear(3 * d, 2 * d) + _linear(2 * d, d) + 2 * d
    multiscale = 3 * 3 * scaled + 3 * _linear(d, d) + 3 + attention + fusion
    assert _count(build("multiscale", d, rank=r, alpha=32)) == multiscale


def test_the_gated_average_is_the_formula() -> None:
    adapter = _perturbed(build("gated", 16, rank=4, alpha=8)).eval()
    x = features = _features(adapter, 6)
    outputs, gates = [], []
    for layer in adapter.layers:  # type: ignore[union-attr]
        normed = F.layer_norm(x, (16,))
        gate = layer.gate(normed)
        update = 8 / 4 * normed @ layer.update.a @ layer.update.b
        x = x + gate * layer.importance(normed) * update
        outputs.append(x)
        gates.append(gate)
    stacked = torch.stack(outputs, 1)
    # Attention written out: 8 heads of 2 channels.
    attention = adapter.attention
    q, k, v = F.linear(stacked, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)  # type: ignore[arg-type,union-attr]
    heads = [part.reshape(6, 3, 8, 2).transpose(1, 2) for part in (q, k, v)]
    weights = (heads[0] @ heads[1].transpose(2, 3) / 2**0.5).softmax(-1)
    mixed = attention.out_proj((weights @ heads[2]).transpose(1, 2).reshape(6, 3, 16))  # type: ignore[operator,union-attr]
    expected = sum(g * m for g, m in zip(gates, mixed.unbind(1), strict=True)) / sum(gates)
    torch.testing.assert_close(adapter(features), expected, rtol=1e-4, atol=1e-5)


def test_each_scale_has_a_say_and_the_fused_vector_is_normalised() -> None:
    adapter = build("multiscale", 16, rank=4, alpha=8).eval()
    features = _features(adapter, 5)
    fused = adapter(features)
    torch.testing.assert_close(fused.mean(-1), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(fused.var(-1, correction=0), torch.ones(5), atol=1e-2, rtol=0)
    for scale in range(3):
        changed = features.clone()
        changed[:, scale] += 1 + torch.arange(16)
        assert (adapter(changed) - fused).abs().max() > 1e-3


@pytest.mark.parametrize("form", FORMS)
def test_adapting_gives_unit_vectors_without_gradient_in_any_mode_or_chunk(
    form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = _perturbed(build(form, 24, rank=4, alpha=8)).train()
    features = _features(adapter, 2, 3, 3)
    adapted = adapter.adapt(features)
    assert adapter.training and not adapted.requires_grad
    torch.testing.assert_close(adapted.norm(dim=-1), torch.ones(2, 3, 3))
    torch.testing.assert_close(adapted, F.normalize(adapter.eval()(features), dim=-1))
    monkeypatch.setattr("anomalyvfm.adapted.adapters._CHUNK", 4)
    torch.testing.assert_close(
        adapter.adapt(features.half().float()), adapter.adapt(features), atol=1e-2, rtol=0
    )
    torch.testing.assert_close(adapter.adapt(features), adapted)


@pytest.mark.parametrize("form", FORMS)
def test_the_seed_sets_the_weights_and_the_global_random_state_is_left_alone(form: Form) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (build(form, 16, rank=2, alpha=4, seed=seed) for seed in (1, 1, 2))
    assert torch.rand(1) == expected
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("width", "heads"), [(768, 8), (152, 8), (384, 8), (100, 5), (12, 6), (7, 7), (11, 1)]
)
def test_heads_divide_the_width(width: int, heads: int) -> None:
    assert attention_heads(width) == heads
    assert build("gated", width, rank=1, alpha=1)(torch.zeros(2, width)).shape == (2, width)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rank", [0, 17])
def test_a_rank_the_features_do_not_have_is_refused(form: Form, rank: int) -> None:
    with pytest.raises(
        InputError, match=f"LoRA rank {rank} with features of 16 dimensions: choose a rank from 1 to 16"
    ):
        build(form, 16, rank=rank, alpha=32)
