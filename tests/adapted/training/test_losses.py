"""Both losses against numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from anomalyvfm.adapted.training.losses import confidence, confidence_map_loss, weighted_loss

Array = NDArray[np.float64]
LOGITS = hnp.arrays(np.float64, 12, elements=st.floats(-20, 20))
TARGETS = hnp.arrays(np.float64, 12, elements=st.sampled_from([0.0, 1.0]))


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _cross_entropy(logits: Array, targets: Array) -> Array:
    return -(targets * np.log(_sigmoid(logits)) + (1 - targets) * np.log(_sigmoid(-logits)))


def _float32(*arrays: Array) -> list[torch.Tensor]:
    return [torch.from_numpy(array).float() for array in arrays]


@given(logits=LOGITS, targets=TARGETS, scores=LOGITS, temperature=st.floats(0.05, 5))
def test_weighted_loss_is_cross_entropy_times_sigmoid_of_score_over_t(
    logits: Array, targets: Array, scores: Array, temperature: float
) -> None:
    expected = _cross_entropy(logits, targets) * _sigmoid(scores / temperature)
    logit, target, score = _float32(logits, targets, scores)
    losses = weighted_loss(logit, target, score, temperature)
    np.testing.assert_allclose(losses.double().numpy(), expected, rtol=2e-4, atol=1e-6)


def test_the_default_temperature_is_a_tenth() -> None:
    one = torch.ones(1)
    assert weighted_loss(one, one, 0.1 * one) == pytest.approx(
        float(np.log1p(np.exp(-1)) / (1 + np.exp(-1))), rel=1e-5
    )


@given(logits=LOGITS, targets=TARGETS, confidences=hnp.arrays(np.float64, 12, elements=st.floats(-10, 10)))
def test_confidence_map_loss_is_the_formula(logits: Array, targets: Array, confidences: Array) -> None:
    c = 1 + np.exp(confidences)
    p = _sigmoid(logits)
    of_truth = np.where(targets == 1, p, 1 - p)
    focal = (1 - of_truth) ** 2 * -np.log(of_truth)
    loss = 5 * focal + np.abs(np.clip(p, 0.1, 0.9) - targets)
    expected = c * loss - 0.1 * np.log(c)
    losses = confidence_map_loss(*_float32(logits, confidences, targets))
    np.testing.assert_allclose(losses.double().numpy(), expected, rtol=1e-3, atol=1e-5)


def test_confidence_is_zero_when_undecided_and_one_when_sure() -> None:
    assert confidence(torch.tensor([-30.0, 0.0, 30.0])).tolist() == [1.0, 0.0, 1.0]


def test_no_gradient_flows_through_the_weight() -> None:
    logit = torch.tensor([0.7], requires_grad=True)
    target = torch.ones(1)
    torch.autograd.backward(weighted_loss(logit, target, confidence(logit)))
    weight = torch.sigmoid(confidence(logit.detach()) / 0.1)
    assert logit.grad is not None
    torch.testing.assert_close(logit.grad, weight * (torch.sigmoid(logit.detach()) - 1))


@pytest.mark.parametrize("extreme", [-1e4, 1e4])
def test_extreme_logits_stay_finite(extreme: float) -> None:
    logits = torch.tensor([extreme], requires_grad=True)
    losses = weighted_loss(logits, torch.zeros(1), confidence(logits)) + confidence_map_loss(
        logits, torch.zeros(1), torch.ones(1)
    )
    torch.autograd.backward(losses)
    assert torch.isfinite(losses).all() and logits.grad is not None and torch.isfinite(logits.grad).all()
