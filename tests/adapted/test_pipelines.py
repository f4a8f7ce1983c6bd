"""Models of every preset with an adapter: kept, loaded, taught more, made to forget, added up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from tests.checkpoints import save_tiny_dinov2
from tests.quick_detectors import good, quick

VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "v1.1": ("v1.1", {}),
    "v1.2": ("v1.2", {}),
    "v1.3": ("v1.3", {}),
    "v1.4": ("v1.4", {}),
    "frozen": ("v1.1", {"lora__enabled": False}),
    "frozen, three scales": ("v1.3", {"lora__enabled": False}),
    "on patches": ("v1.1", {"training__rows": "patches"}),
    "inside the encoder": ("v1.4", {"lora__where": "encoder"}),
    "DoRA": ("v1.2", {"lora__where": "encoder", "lora__dora": True}),
}
HELD_OUT = good(3, seed=7)
NEW = good(2, seed=8)


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_dinov2(tmp_path_factory.mktemp("weights") / "tiny", hidden=16)


def scores(detector: Detector) -> list[float]:
    return [verdict.score for verdict in detector.predict(NEW)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_is_kept_whole_and_learns_and_forgets_after(
    variant: str, dinov2: Path, tmp_path: Path
) -> None:
    version, settings = VARIANTS[variant]
    images, more = good(20), good(3, seed=5)
    detector = quick(version, dinov2, **settings).fit(images, HELD_OUT)
    first = scores(detector)
    detector.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model", device="cpu")
    assert scores(again) == first
    assert again.pipeline_.describe() == detector.pipeline_.describe()
    assert again.describe() == detector.describe()

    for one in (detector, again):
        one.update(more)
        assert one.pipeline_.learned.total() == 23
    assert scores(detector) == scores(again) != first
    again.save(tmp_path / "later")
    assert scores(Detector.load(tmp_path / "later", device="cpu")) == scores(again)
    again.forget(more)
    assert scores(again) == pytest.approx(first, rel=1e-2, abs=1e-3)
    with pytest.raises(InputError, match="not among the images this model learned"):
        again.forget(more)
    assert again.forget(images[:5]).pipeline_.learned.total() == 15


@pytest.mark.parametrize("variant", ["v1.1", "v1.3", "v1.4"])
def test_models_merge_where_they_share_an_adapter_alone(variant: str, dinov2: Path, tmp_path: Path) -> None:
    version, settings = VARIANTS[variant]
    images = good(20)
    one = quick(version, dinov2, **settings).fit(images, HELD_OUT)
    one.save(tmp_path / "model")
    # Two machines that go on from one model have its adapter, and add up but for what both know already.
    here = Detector.load(tmp_path / "model", device="cpu").update(good(3, seed=5))
    there = Detector.load(tmp_path / "model", device="cpu").update(good(3, seed=6))
    assert here.merge(there).pipeline_.learned.total() == 46
    sums = here.pipeline_.scorer.to_tensors()
    assert (int(sums["summary.count"]), int(sums["patches.count"])) == (46, 46 * 16)
    apart = [quick(version, dinov2, **settings).fit(images, HELD_OUT).update(good(3, seed=n)) for n in (5, 6)]
    for name in ("summary.total", "patches.outer"):
        expected = sum(two.pipeline_.scorer.to_tensors()[name] for two in apart)
        torch.testing.assert_close(sums[name], expected)
    other = quick(version, dinov2, **settings).fit(good(8, seed=1), HELD_OUT)
    before = scores(one)
    with pytest.raises(InputError, match="their adapter differ") as raised:
        one.merge(other)
    assert "\n" not in str(raised.value)
    assert scores(one) == before


def test_frozen_features_of_two_machines_merge_to_those_of_one(dinov2: Path) -> None:
    version, settings = VARIANTS["frozen"]
    images = good(20)
    parts = [quick(version, dinov2, **settings).fit(some, HELD_OUT) for some in (images[:15], images[15:])]
    whole = quick(version, dinov2, **settings).fit(images, HELD_OUT)
    merged = parts[0].merge(parts[1]).calibrate(HELD_OUT)
    assert scores(merged) == pytest.approx(scores(whole), rel=1e-3, abs=1e-3)


def test_models_of_other_updates_inside_the_encoder_do_not_merge(dinov2: Path) -> None:
    version, settings = VARIANTS["inside the encoder"]
    one, other = (quick(version, dinov2, **settings).fit(good(8, seed=seed), HELD_OUT) for seed in (0, 1))
    with pytest.raises(InputError, match="do not merge"):
        one.merge(other)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(dinov2: Path) -> None:
    def fitted(seed: int) -> Detector:
        plain = quick("v1.4", dinov2)
        return Detector(plain.settings, device="cpu", seed=seed).fit(good(8), HELD_OUT)

    assert scores(fitted(0)) == scores(fitted(0))
    assert fitted(0).pipeline_.scorer.identity() != fitted(1).pipeline_.scorer.identity()
