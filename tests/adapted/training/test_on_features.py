"""Training on real features: what the pipelines do from images to scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score

from anomalyvfm.adapted.adapters import build
from anomalyvfm.adapted.plans import PLANS
from anomalyvfm.adapted.training.loop import TrainingData, train
from anomalyvfm.adapted.training.losses import Head
from anomalyvfm.data.generated import draw_good
from anomalyvfm.features import backbones
from anomalyvfm.features.backbones.backbone import Backbone
from anomalyvfm.features.backbones.checkpoint import hash_weights
from anomalyvfm.presets import TrainingSettings
from anomalyvfm.statistical.image_scorer import ImageScorer
from anomalyvfm.synthesis import Mix, mixes, orders, synthesize
from anomalyvfm.synthesis.patch import Image8


def _summaries(backbone: Backbone, images: list[Image8]) -> torch.Tensor:
    batches = [images[start : start + 16] for start in range(0, len(images), 16)]
    return torch.cat([backbone(torch.from_numpy(np.stack(batch))).summary for batch in batches])


def _hash(backbone: Backbone) -> str:
    state = backbone.stages.state_dict()  # type: ignore[attr-defined]
    return hash_weights(state, state.__getitem__)


@pytest.mark.parametrize("category", ["sheet_metal", "gear"])
def test_v11_separates_held_out_synthetic_defects_and_leaves_the_backbone_as_it_was(category: str) -> None:
    backbone = backbones.load("efficientnet-lite0")
    published = _hash(backbone)
    rng = np.random.default_rng(0)
    learned, held_out = ([draw_good(category, 128, rng) for _ in range(count)] for count in (60, 40))
    mix: tuple[Mix, ...] = mixes("v1.1")
    normal = _summaries(backbone, learned)
    synthetic = _summaries(backbone, [one.image for one in synthesize(learned, orders(mix))])
    new = [one.image for one in synthesize(held_out, orders(mix, 45, seed=1), seed=1)]
    plan = PLANS["v1.1"]["medium"]
    adapter = build(plan.form, backbone.summary_channels, rank=plan.rank, alpha=plan.alpha)
    head = Head(backbone.summary_channels)
    train(adapter, head, TrainingData(normal, synthetic), TrainingSettings(epochs=plan.epochs))
    test = _summaries(backbone, held_out + new)
    with torch.no_grad():
        logits = head(adapter(test))[:, 0]
    truth = [0] * len(held_out) + [1] * len(new)
    assert roc_auc_score(truth, logits.numpy()) > 0.9
    # What the pipeline scores by: the distance of adapted, normalised features.
    scorer = ImageScorer(backbone.summary_channels, torch.device("cpu"))
    scorer.learn(adapter.adapt(normal))
    assert roc_auc_score(truth, scorer.image_scores(adapter.adapt(test)).numpy()) > 0.85
    assert _hash(backbone) == published
    assert all(not p.requires_grad and p.grad is None for p in backbone.stages.parameters())  # type: ignore[attr-defined]


def test_the_distance_of_adapted_features_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    normal, new = (torch.randn(count, 6, generator=generator) for count in (20000, 50))
    adapter = build("gated", 6, rank=2, alpha=4)
    train(adapter, Head(6), TrainingData(normal[:40], normal[:40] + 1), TrainingSettings(epochs=2))
    adapted, adapted_new = adapter.adapt(normal), adapter.adapt(new)
    scorer = ImageScorer(6, torch.device("cpu"))
    scorer.learn(adapted)
    expected = EmpiricalCovariance().fit(adapted.double().numpy()).mahalanobis(adapted_new.double().numpy())
    # The scorer divides by the dimension, and its prior weighs as one of the 20,000 vectors.
    ours = scorer.image_scores(adapted_new).double().numpy() * 6
    np.testing.assert_allclose(ours, expected, rtol=0.02)


def test_plans_follow_the_table() -> None:
    for version, form in (("v1.1", "chain"), ("v1.2", "chain"), ("v1.3", "multiscale"), ("v1.4", "gated")):
        assert {plan.form for plan in PLANS[version].values()} == {form}
    adaptive = {group: (plan.rank, plan.alpha, plan.epochs) for group, plan in PLANS["v1.2"].items()}
    assert adaptive == {"high-texture": (32, 64, 12), "high-performance": (8, 16, 6), "medium": (16, 32, 10)}
    for version in ("v1.1", "v1.3", "v1.4"):
        assert {(p.rank, p.alpha, p.epochs) for p in PLANS[version].values()} == {(16, 32, 10)}


def test_the_head_has_the_layers_of_the_table() -> None:
    for outputs in (1, 2):
        count = sum(p.numel() for p in Head(768, outputs).parameters())
        assert count == 768 * 512 + 512 + 512 * 256 + 256 + 256 * outputs + outputs
