"""Good images under another light, and what a model learns from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.data.generated import draw_good
from anomalyvfm.detector import Detector
from anomalyvfm.features.illumination import augment_light, is_augmented
from anomalyvfm.statistical.gaussian import Gaussian
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40))
def test_relighting_is_set_by_the_seed_and_keeps_shape_and_type(seed: int, height: int, width: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    once, again = (augment_light(pixels, np.random.default_rng(seed)) for _ in range(2))
    assert once.shape == pixels.shape
    assert once.dtype == np.uint8
    np.testing.assert_array_equal(once, again)


def test_relighting_changes_the_light_and_keeps_the_structure() -> None:
    # Well inside black and white, so that next to nothing is clipped.
    pattern = np.random.default_rng(0).integers(60, 140, (64, 64), np.uint8)
    pixels = np.repeat(pattern[..., None], 3, axis=2)
    brightness = []
    for seed in range(30):
        lit = augment_light(pixels, np.random.default_rng(seed)).mean(2)
        brightness.append(lit.mean())
        assert np.corrcoef(lit.ravel(), pattern.ravel())[0, 1] > 0.5
    assert np.std(brightness) > 15


@given(st.floats(0, 1))
def test_the_share_of_relit_images_is_that_asked_for(share: float) -> None:
    keys = np.random.default_rng(0).integers(0, 1 << 56, 4000).tolist()
    found = np.mean([is_augmented(key, share) for key in keys])
    assert abs(found - share) < 0.04


def test_no_image_is_relit_at_share_0_and_every_one_at_share_1() -> None:
    assert not is_augmented(0, 0)
    assert is_augmented((1 << 56) - 1, 1)


def test_changes_with_the_light_are_summed_over_images_and_averaged_over_positions() -> None:
    generator = torch.Generator().manual_seed(0)
    changes = torch.randn(3, 5, 4, generator=generator)
    statistics = SufficientStatistics(3, 4)
    statistics.add_light(changes)
    expected = np.einsum("pni,pnj->ij", *2 * [changes.double().numpy()]) / 3
    np.testing.assert_allclose(statistics.light.numpy(), expected, atol=1e-12)
    assert statistics.count == 0 and not statistics.outer.any()
    statistics.add_light(changes, -1)
    np.testing.assert_allclose(statistics.light.numpy(), 0, atol=1e-12)


def test_a_gaussian_counts_the_light_as_so_much_more_scatter_of_each_position() -> None:
    generator = torch.Generator().manual_seed(0)
    features, changes = (torch.randn(3, 50, 4, generator=generator) for _ in range(2))
    new = torch.randn(3, 9, 4, generator=generator)
    apart, within = SufficientStatistics(3, 4), SufficientStatistics(3, 4)
    for statistics in (apart, within):
        statistics.add(features)
    apart.add_light(changes)
    within.outer += 0.3 * apart.light
    expected = Gaussian(within, 5.0).distance(new)
    torch.testing.assert_close(Gaussian(apart, 5.0, light_weight=0.3).distance(new), expected)
    assert (Gaussian(apart, 5.0).distance(new) > expected).all()


@pytest.fixture(scope="module")
def goods() -> list[np.ndarray]:
    return [draw_good("gear", 64, np.random.default_rng([1, i]), "regular") for i in range(24)]


def _fitted(goods: list[np.ndarray], **settings: float) -> Detector:
    overrides = {f"gaussian.{name}": value for name, value in settings.items()}
    return Detector("v2", {"backbone": "efficientnet-lite0", "image.size": 64, **overrides}).fit(goods)


def test_light_that_was_learned_raises_scores_less(goods: list[np.ndarray]) -> None:
    fresh = [draw_good("gear", 64, np.random.default_rng([2, i]), "regular") for i in range(12)]
    lit = [augment_light(image, np.random.default_rng(i)) for i, image in enumerate(fresh)]
    rise = {}
    for share in (0, 1):
        detector = _fitted(goods, light_share=share)
        as_usual, otherwise = (
            np.mean([v.score for v in detector.predict(images)]) for images in (fresh, lit)
        )
        rise[share] = otherwise - as_usual
    assert rise[1] < 0.8 * rise[0]


def test_forgetting_takes_the_other_light_back_too(goods: list[np.ndarray], tmp_path: Path) -> None:
    detector = _fitted(goods, light_share=1)
    before = detector.pipeline_.scorer.to_tensors()
    extra = draw_good("gear", 64, np.random.default_rng([3, 0]), "regular")
    detector.update([extra])
    after = detector.pipeline_.scorer.to_tensors()
    assert not torch.allclose(after["patches.outer"], before["patches.outer"])
    detector.forget([extra])
    for name, tensor in detector.pipeline_.scorer.to_tensors().items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-9, atol=1e-9)
