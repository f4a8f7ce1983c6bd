"""Dropout that does not depend on who computes it."""

from __future__ import annotations

import pytest
import torch

from anomalyvfm.adapted.layers import SeededDropout, begin_batch


def test_a_batch_in_parts_drops_the_same_elements_as_whole() -> None:
    dropout, x = SeededDropout(0.3), torch.ones(10, 4, 6)
    dropout.begin(7, 0, 10, 10)
    whole = dropout(x)
    parts = []
    for start, stop in ((0, 3), (3, 4), (4, 10)):
        dropout.begin(7, start, stop, 10)
        parts.append(dropout(x[start:stop]))
    assert torch.equal(torch.cat(parts), whole)


def test_the_share_is_dropped_and_the_mean_kept() -> None:
    dropout = SeededDropout(0.1)
    dropout.begin(0, 0, 200, 200)
    out = dropout(torch.ones(200, 500))
    assert (out == 0).float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert out.mean().item() == pytest.approx(1, abs=0.005)
    assert torch.equal(dropout.eval()(out), out)


def test_uses_layers_and_seeds_differ_and_global_state_is_left_alone() -> None:
    model = torch.nn.Sequential(SeededDropout(0.5), SeededDropout(0.5))
    x = torch.ones(4, 64)
    state = torch.random.get_rng_state()
    begin_batch(model, 3, 0, 4, 4)
    first, again = model[0](x), model[0](x)
    second = model[1](x)
    begin_batch(model, 4, 0, 4, 4)
    other = model[0](x)
    assert len({tuple(out.flatten().tolist()) for out in (first, again, second, other)}) == 4
    assert torch.equal(state, torch.random.get_rng_state())
