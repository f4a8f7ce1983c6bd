"""v1.1 to v1.4 from good images to scores: what is trained, on what, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.linalg import pinvh
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from anomalyvfm.adapted.adaptation import _on_grid
from anomalyvfm.adapted.adapters import Adapter
from anomalyvfm.adapted.plans import check_trainable, plan_for, scales_of
from anomalyvfm.adapted.scorer import AdaptedScorer, with_token
from anomalyvfm.adapted.training.loop import Curve, TrainingData, train
from anomalyvfm.adapted.training.losses import Head
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.features import backbones, core_threads
from anomalyvfm.features.backbones.backbone import Backbone, PatchFeatures
from anomalyvfm.features.backbones.checkpoint import hash_weights
from anomalyvfm.features.backbones.remembering import RememberingBackbone
from anomalyvfm.presets import AdaptedPreset, preset
from anomalyvfm.synthesis import mixes, orders, synthesize
from tests.checkpoints import save_tiny_dinov2
from tests.quick_detectors import adaptation, features, good, quick, save_images

T = TypeVar("T")
VERSIONS = ("v1.1", "v1.2", "v1.3", "v1.4")


@pytest.fixture(autouse=True, scope="module")
def one_core() -> Iterator[None]:
    with core_threads.one_core():
        yield


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With biases in its last LayerNorm, as trained ones have: without, all vectors' sum is the same."""
    return _biased(save_tiny_dinov2(tmp_path_factory.mktemp("weights") / "tiny"))


def _biased(folder: Path) -> Path:
    tensors = load_file(folder / "model.safetensors")
    tensors["layernorm.bias"] = torch.randn(32, generator=torch.Generator().manual_seed(0))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _scorer(detector: Detector) -> AdaptedScorer:
    assert isinstance(detector.pipeline_.scorer, AdaptedScorer)
    return detector.pipeline_.scorer


def _adapter(detector: Detector) -> Adapter:
    adapter = _scorer(detector).adapter
    assert adapter is not None
    return adapter


# ── what is trained, on what ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("version", "category", "rank", "alpha", "epochs", "synthetic"),
    [
        ("v1.1", "walnuts", 16, 32, 10, (30, 30, 30)),
        ("v1.2", "walnuts", 32, 64, 12, (40, 25, 25)),
        ("v1.2", "vial", 8, 16, 6, (20, 35, 35)),
        ("v1.2", "can", 16, 32, 10, (30, 30, 30)),
        ("v1.3", "vial", 16, 32, 10, (33, 30, 27)),  # 6, 12, 15 + 15, 9, 6 + 9, 9, 9
        ("v1.4", "walnuts", 16, 32, 10, (45, 27, 18)),
        ("v1.4", "vial", 16, 32, 10, (18, 45, 27)),
        ("v1.4", "can", 16, 32, 10, (36, 27, 27)),
    ],
)
def test_each_version_trains_a_category_as_the_table_says(
    version: str,
    category: str,
    rank: int,
    alpha: float,
    epochs: int,
    synthetic: tuple[int, int, int],
    dinov2: Path,
    tmp_path: Path,
) -> None:
    folder = save_images(good(6), tmp_path / category)
    overrides = {"backbone": str(dinov2), "image.size": 56}
    detector = Detector(version, overrides, device="cpu").fit(folder)
    done = adaptation(detector)
    assert (done.rank, done.alpha, done.epochs, done.normal) == (rank, alpha, epochs, 5)
    assert done.synthetic == dict(zip(("texture", "structural", "contextual"), synthetic, strict=True))
    assert len(done.losses) == epochs
    assert _adapter(detector).width == 32


def test_the_group_of_an_unnamed_category_is_told_by_its_images(dinov2: Path) -> None:
    rng = np.random.default_rng(0)
    grain = [rng.integers(0, 256, (56, 56, 3)).astype(np.uint8) for _ in range(6)]
    alike = [grain[0].copy() for _ in range(6)]
    for number, image in enumerate(alike):
        image[number, 0] = 0
    ramp = np.linspace(0, 255, 56)
    smooth = [np.rint(scale * ramp[None, :, None] + 0 * grain[0]).astype(np.uint8) for scale in (0.2, 1) * 3]
    smooth = [image.transpose(1, 0, 2) if number < 3 else image for number, image in enumerate(smooth)]
    for images, group in ((grain, "high-texture"), (alike, "high-performance"), (smooth, "medium")):
        settings = {"synthesis__leave_out": "contextual"}
        detector = quick("v1.2", dinov2, **settings).fit(images, good(2))
        assert adaptation(detector).group == group


def test_settings_go_before_the_plan_of_a_version() -> None:
    v12 = preset("v1.2")
    assert isinstance(v12, AdaptedPreset)
    plan = plan_for(v12.override({"lora.rank": 3, "training.epochs": 1}), "high-texture")
    assert (plan.rank, plan.alpha, plan.epochs) == (3, 64.0, 1)


def test_three_scales_are_a_quarter_half_and_all_of_the_frame(dinov2: Path) -> None:
    assert scales_of("v1.3") == (0.25, 0.5, 1.0)
    assert {scales_of(version) for version in ("v1.1", "v1.2", "v1.4")} == {(1.0,)}
    detector = quick("v1.3", dinov2, image__size=112).fit(good(5, side=112))
    seen = features(detector, good(2, side=112))
    assert seen.patches.shape == (2, 8, 8, 3, 32)
    assert seen.summary.shape == (2, 3, 32)
    backbone = backbones.load(str(dinov2))
    placed = detector.pipeline_.extractor.place(good(1, side=112)[0])
    assert [view.shape for view in placed.views] == [(28, 28, 3), (56, 56, 3), (112, 112, 3)]
    for number, view in enumerate(placed.views):
        alone = backbone(torch.from_numpy(view)[None]).summary
        torch.testing.assert_close(seen.summary[:1, number], alone, rtol=1e-4, atol=1e-5)
    assert _scorer(detector).distances(seen).patch_distances.shape == (2, 8, 8)


def test_a_leftout_stage_is_made_up_for_by_the_others(dinov2: Path) -> None:
    detector = quick("v1.1", dinov2, synthesis__leave_out="contextual").fit(good(5))
    assert adaptation(detector).synthetic == {"texture": 6, "structural": 6, "contextual": 0}


@pytest.mark.parametrize("version", ["v1.1", "v1.3"])
def test_the_backbone_stays_as_it_was(version: str, dinov2: Path) -> None:
    for name in ("efficientnet-lite0", str(dinov2)):
        backbone = backbones.load(name)
        network = getattr(backbone, "stages", None) or backbone.model  # type: ignore[attr-defined]
        before = _hash(network)
        settings = {"backbone": name, "image.size": 64, "training.epochs": 2, "synthesis.count": 4}
        Detector(version, settings, device="cpu", backbone=backbone).fit(good(4, side=64))
        assert _hash(network) == before
        assert all(parameter.grad is None for parameter in network.parameters())
        assert not any(parameter.requires_grad for parameter in network.parameters())


def _hash(network: torch.nn.Module) -> str:
    state = network.state_dict()
    return hash_weights(state, state.__getitem__)


# ── the distance ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("images", [12, 60])
def test_scores_are_the_distances_of_scikit_learn_on_adapted_features(
    version: str, images: int, dinov2: Path
) -> None:
    """12 summaries in 32 dimensions leave the covariance singular, 60 do not."""
    learned, new = good(images), good(5, seed=1)
    detector = quick(version, dinov2).fit(learned, good(3, seed=2))
    adapt = _adapter(detector).adapt
    known, seen = features(detector, learned), features(detector, new)
    ours = _scorer(detector).distances(seen)
    expected = _reference(adapt(known.summary), adapt(seen.summary))
    np.testing.assert_allclose(ours.image_scores[:, 0].numpy(), expected, rtol=2e-3)
    # The features are kept in half precision while the adapter is trained.
    expected = _reference(adapt(known.patches.half()), adapt(seen.patches))
    np.testing.assert_allclose(ours.patch_distances.numpy(), expected, rtol=2e-3)


def test_patches_fewer_than_dimensions_are_scored_like_scikit_learn_too(tmp_path: Path) -> None:
    wide = save_tiny_dinov2(tmp_path / "wide", hidden=64)
    learned = good(3)
    detector = quick("v1.1", wide).fit(learned, good(2, seed=2))
    adapt = _adapter(detector).adapt
    known, seen = features(detector, learned), features(detector, good(5, seed=1))
    assert known.patches.shape == (3, 4, 4, 64)  # 48 vectors
    expected = _reference(adapt(known.patches.half()), adapt(seen.patches))
    np.testing.assert_allclose(_scorer(detector).distances(seen).patch_distances.numpy(), expected, rtol=2e-3)


@pytest.mark.parametrize("version", ["v1.1", "v1.3"])
def test_without_lora_unit_features_are_scored(version: str, dinov2: Path) -> None:
    learned = good(40)
    detector = quick(version, dinov2, lora__enabled=False, image__size=112).fit(learned, good(3, seed=2))
    assert detector.pipeline_.describe() == {"adaptation": None}
    known, seen = (_unit(features(detector, some)) for some in (learned, good(5, seed=1)))
    ours = _scorer(detector).distances(features(detector, good(5, seed=1)))
    np.testing.assert_allclose(
        ours.image_scores[:, 0].numpy(), _reference(known.summary, seen.summary), rtol=2e-3
    )
    np.testing.assert_allclose(
        ours.patch_distances.numpy(), _reference(known.patches, seen.patches), rtol=2e-3
    )


def _unit(seen: PatchFeatures) -> PatchFeatures:
    patches, summary = (F.normalize(rows, dim=-1) for rows in (seen.patches, seen.summary))
    if summary.ndim == 3:  # several scales are averaged
        return PatchFeatures(patches.mean(-2), summary.mean(-2))
    return PatchFeatures(patches, summary)


def _reference(known: torch.Tensor, seen: torch.Tensor) -> np.ndarray:
    """Mahalanobis distance over the root of the covariance's rank."""
    vectors = known.reshape(-1, known.shape[-1]).double().numpy()
    model = EmpiricalCovariance().fit(vectors)
    values = np.linalg.eigvalsh(model.covariance_)
    rank = int((values > 1e-10 * values[-1]).sum())
    if rank < min(len(vectors) - 1, vectors.shape[1]):
        # The LayerNorm at the end of v1.3 fixes the vectors' sum, and leaves scikit-learn rounding to invert.
        model.precision_ = pinvh(model.covariance_, rtol=1e-10)
    squared = model.mahalanobis(seen.reshape(-1, seen.shape[-1]).double().numpy())
    return np.asarray(np.sqrt(squared / rank).reshape(seen.shape[:-1]))


# ── what training gives ────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = tmp_path_factory.mktemp("features")
    return RememberingBackbone(backbones.load("efficientnet-lite0", device="cpu"), folder / "file")


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch) -> list[Head]:
    """The heads trained in the test: a detector keeps none."""
    made: list[Head] = []

    def kept(width: int, outputs: int = 1, seed: int = 0) -> Head:
        made.append(Head(width, outputs, seed))
        return made[-1]

    monkeypatch.setattr("anomalyvfm.adapted.adaptation.Head", kept)
    return made


@pytest.fixture
def entropies(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The head's plain cross-entropy on all rows before a training and after it."""
    found: list[float] = []

    def entropy(adapter: Adapter, head: Head, data: TrainingData) -> float:
        adapter.eval()
        head.eval()
        with torch.no_grad():
            good_rows, odd_rows = (head(adapter(rows))[:, 0] for rows in (data.normal, data.synthetic))
        return float((F.softplus(good_rows).mean() + F.softplus(-odd_rows).mean()) / 2)

    def measured(adapter: Adapter, head: Head, data: TrainingData, *args: Any, **rest: Any) -> Curve:
        found.append(entropy(adapter, head, data))
        curve = train(adapter, head, data, *args, **rest)
        found.append(entropy(adapter, head, data))
        return curve

    monkeypatch.setattr("anomalyvfm.adapted.adaptation.train", measured)
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_training_lowers_the_loss_and_held_out_synthetic_defects_are_told_by_head_and_distance(
    version: str, lite: Backbone, heads: list[Head], entropies: list[float]
) -> None:
    images = good(104, side=128)
    learned, validation, fine = images[:60], images[60:64], images[64:]
    settings = {"backbone": "efficientnet-lite0", "image.size": 128}
    detector = Detector(version, settings, device="cpu", backbone=lite).fit(learned, validation)
    # Of the loss itself: its elements weigh half while the head is undecided, and more as it decides.
    assert adaptation(detector).losses[-1] < 0.9 * adaptation(detector).losses[0]
    assert entropies[0] == pytest.approx(np.log(2), abs=0.05)
    assert entropies[1] < 0.9 * entropies[0]
    wanted = orders(mixes(version, adaptation(detector).group), 45, seed=1)
    odd = [one.image for one in synthesize(fine, wanted, seed=1)]
    seen = with_token(features(detector, fine + odd))
    with torch.no_grad():
        logits = heads[0](_adapter(detector)(seen.summary))[:, 0]
    truth = [0] * len(fine) + [1] * len(odd)
    assert roc_auc_score(truth, logits.numpy()) > 0.9
    assert roc_auc_score(truth, _scorer(detector).distances(seen).image_scores[:, 0].numpy()) > 0.9


def test_trained_on_patches_the_head_finds_where_defects_are(lite: Backbone, heads: list[Head]) -> None:
    images = good(44, side=96, category="gear")
    learned, validation, fine = images[:20], images[20:24], images[24:]
    settings = {
        "backbone": "efficientnet-lite0",
        "image.size": 96,
        "training.rows": "patches",
        "training.epochs": 5,
    }
    detector = Detector("v1.1", settings, device="cpu", backbone=lite).fit(learned, validation)
    made = list(synthesize(fine, orders(mixes("v1.1"), 24, seed=1), seed=1))
    seen = features(detector, fine + [one.image for one in made])
    with torch.no_grad():
        logits = heads[0](_adapter(detector)(seen.patches))[..., 0]
    truth = [0] * len(fine) + [1] * len(made)
    assert roc_auc_score(truth, logits.flatten(1).amax(1).numpy()) > 0.9
    marked = _on_grid([one.mask for one in made], (6, 6))
    assert roc_auc_score(marked.flatten().numpy(), logits[len(fine) :].flatten().numpy()) > 0.85
    losses = (detector.pipeline_.describe()["adaptation"] or {}).get("losses", [])
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("loss", ["weighted", "confidence-map"])
@pytest.mark.parametrize("rows", ["summary", "patches"])
def test_both_losses_train_on_images_and_on_patches(loss: str, rows: str, dinov2: Path) -> None:
    settings = {"training__loss": loss, "training__rows": rows, "training__epochs": 8}
    detector = quick("v1.1", dinov2, **settings, synthesis__count=40).fit(good(30), good(3, seed=2))
    first, *_, last = adaptation(detector).losses
    assert np.isfinite([first, last]).all()
    if (loss, rows) != ("weighted", "summary"):
        assert last < first
    fresh = quick("v1.1", dinov2).fit(good(30), good(3, seed=2))
    assert fresh.pipeline_.scorer.identity() != detector.pipeline_.scorer.identity()


# ── LoRA inside the encoder ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dora", [False, True])
def test_inside_the_encoder_the_updates_change_scores_but_no_published_weight(
    dora: bool, dinov2: Path, tmp_path: Path
) -> None:
    learned, held_out, new = good(8), good(3, seed=2), good(4, seed=1)
    settings = {"lora__where": "encoder", "lora__dora": dora, "training__learning_rate": 0.01}
    detector = quick("v1.1", dinov2, **settings, training__batch=8).fit(learned, held_out)
    frozen = quick("v1.1", dinov2, lora__enabled=False).fit(learned, held_out)
    assert _scorer(detector).adapter is None
    adapted, plain = features(detector, new), features(frozen, new)
    assert not torch.allclose(adapted.summary, plain.summary, atol=1e-3)
    np.testing.assert_allclose(
        _scorer(detector).distances(adapted).image_scores[:, 0].numpy(),
        _reference(
            F.normalize(features(detector, learned).summary, dim=-1), F.normalize(adapted.summary, dim=-1)
        ),
        rtol=2e-3,
    )
    network = detector.pipeline_.extractor.backbone.model  # type: ignore[attr-defined]
    published = backbones.load(str(dinov2)).model.state_dict()  # type: ignore[attr-defined]
    state = {name.replace(".base_layer", ""): tensor for name, tensor in network.state_dict().items()}
    assert all(torch.equal(state[name], tensor) for name, tensor in published.items())
    detector.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model", device="cpu")
    assert [v.score for v in again.predict(new)] == [v.score for v in detector.predict(new)]
    # A second fit begins with the published weights, not with those of the first.
    before = [v.score for v in detector.predict(new)]
    assert [v.score for v in detector.fit(learned, held_out).predict(new)] == before


# ── stopping and going on ──────────────────────────────────────────────────────────────────────────


class _Stopped(Exception):
    pass


def _stopping(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    """A tracker that ends training before its third epoch."""
    for number, item in enumerate(items):
        if description == "training" and number == 2:
            raise _Stopped
        yield item


def test_a_fit_that_stopped_in_training_goes_on_to_the_same_model(dinov2: Path, tmp_path: Path) -> None:
    images, file = good(8), tmp_path / "training.safetensors"
    settings = {"training__epochs": 5}
    with pytest.raises(_Stopped):
        quick("v1.4", dinov2, **settings).fit(images, track=_stopping, checkpoint=file)
    assert file.exists()
    epochs: list[int] = []

    def counting(items: Iterable[T], total: int, description: str) -> Iterable[T]:
        if description == "training":
            epochs.append(total)
        return items

    resumed = quick("v1.4", dinov2, **settings).fit(images, track=counting, checkpoint=file)
    assert epochs == [3]
    whole = quick("v1.4", dinov2, **settings).fit(images)
    assert resumed.pipeline_.scorer.identity() == whole.pipeline_.scorer.identity()
    assert adaptation(resumed).losses == adaptation(whole).losses
    new = good(3, seed=1)
    assert [v.score for v in resumed.predict(new)] == [v.score for v in whole.predict(new)]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"lora__rank": 2}, "adapter"),
        ({"lora__alpha": 7}, "adapter"),
        ({"lora__dropout": 0.3}, "adapter"),
        ({"training__epochs": 3}, "settings"),
        ({"synthesis__severity": 0.5}, "data"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    changed: dict[str, object], named: str, dinov2: Path, tmp_path: Path
) -> None:
    file = tmp_path / "training.safetensors"
    quick("v1.1", dinov2).fit(good(5), checkpoint=file)
    with pytest.raises(InputError, match=f"from a run with other {named}; delete it to start anew") as raised:
        quick("v1.1", dinov2, **changed).fit(good(5), checkpoint=file)
    assert "\n" not in str(raised.value)


# ── mistakes ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("count", "message"), [(1, "1 good image to learn from"), (2, "1 good image to train")]
)
def test_fewer_than_two_images_to_train_on_are_refused(count: int, message: str, dinov2: Path) -> None:
    with pytest.raises(InputError, match=message):
        quick("v1.1", dinov2).fit(good(count))


def test_an_image_smaller_than_a_patch_to_paste_is_refused(dinov2: Path) -> None:
    narrow = [image[:8] for image in good(6)]
    with pytest.raises(InputError, match=r"14×\d+ px is too small to put a synthetic defect into"):
        quick("v1.1", dinov2, image__size=32, image__aspect="keep").fit(narrow)


@pytest.mark.parametrize(
    ("version", "settings", "message"),
    [
        (
            "v1.1",
            {"lora__rank": 33},
            "LoRA rank 33 with features of 32 dimensions: choose a rank from 1 to 32",
        ),
        ("v1.4", {"lora__dora": True}, "lora.dora=true goes with lora.where=encoder"),
        ("v1.3", {"lora__where": "encoder"}, "v1.3 joins features of several scales after the backbone"),
        ("v1.1", {"lora__where": "encoder", "training__rows": "patches"}, "training.rows=patches goes with"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(
    version: str, settings: dict[str, object], message: str, dinov2: Path
) -> None:
    detector = quick(version, dinov2, **settings)
    assert isinstance(detector.settings, AdaptedPreset)
    with pytest.raises(InputError, match=message) as raised:
        check_trainable(detector.settings, backbones.load(str(dinov2)))
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match=message):
        detector.fit(good(5))


def test_a_backbone_without_attention_takes_no_lora_inside() -> None:
    with pytest.raises(InputError, match="efficientnet-lite0 has no attention to put LoRA into"):
        quick("v1.2", "efficientnet-lite0", lora__where="encoder", image__size=64).fit(good(5, side=64))
