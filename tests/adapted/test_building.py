"""Adapters to tensors and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from anomalyvfm.adapted.adapters import Form, build, load_tensors, to_tensors
from anomalyvfm.errors import InputError


@pytest.mark.parametrize("form", ["chain", "gated", "multiscale"])
def test_a_stored_adapter_comes_back_the_same(form: Form, tmp_path: Path) -> None:
    kept = build(form, 16, rank=2, alpha=4, seed=1)
    tensors = to_tensors(kept, "adapter") | {"adapter2.x": torch.ones(1), "patches.total": torch.ones(3)}
    save_file(tensors, tmp_path / "model.safetensors")
    loaded = build(form, 16, rank=2, alpha=4, seed=2)
    load_tensors(loaded, load_file(tmp_path / "model.safetensors"), "adapter")
    features = torch.randn(3, 3, 16) if form == "multiscale" else torch.randn(3, 16)
    assert torch.equal(loaded.adapt(features), kept.adapt(features))


def test_weights_of_other_settings_are_refused() -> None:
    tensors = to_tensors(build("chain", 16, rank=2, alpha=4), "adapter")
    with pytest.raises(InputError, match="stored weights of the adapter are not those of its settings"):
        load_tensors(build("chain", 16, rank=3, alpha=4), tensors, "adapter")
    with pytest.raises(InputError, match="stored weights"):
        load_tensors(build("chain", 16, rank=2, alpha=4), {}, "adapter")
