"""Which category belongs to which group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.synthesis.groups import group_of, spread, texture_energy

NOTHING = np.zeros((2, 4), np.float32)


@pytest.mark.parametrize(
    ("category", "group"),
    [
        ("fruit_jelly", "high-texture"),
        ("walnuts", "high-texture"),
        ("fabric", "high-performance"),
        ("vial", "high-performance"),
        ("can", "medium"),
        ("rice", "medium"),
        ("wallplugs", "medium"),
    ],
)
def test_categories_of_mvtec_ad_2_are_known_by_name(category: str, group: str) -> None:
    assert group_of(category, [], NOTHING) == group


def test_other_categories_are_told_by_their_good_images() -> None:
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    ramp = np.repeat(np.linspace(0, 255, 256).astype(np.uint8)[None, :, None], 256, axis=0)
    varied = rng.normal(size=(20, 8)).astype(np.float32)
    alike = 1 + 0.01 * varied
    assert group_of("mine", [grain], varied) == "high-texture"
    assert group_of("mine", [ramp], varied) == "medium"
    assert group_of("mine", [grain], alike) == "high-performance"


@given(count=st.integers(2, 12), seed=st.integers(0, 1000))
def test_spread_is_the_mean_over_pairs(count: int, seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(count, 5))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    pairs = [1 - unit[i] @ unit[j] for i in range(count) for j in range(count) if i != j]
    assert spread(features.astype(np.float32)) == pytest.approx(np.mean(pairs), abs=1e-5)


def test_texture_energy_ignores_lighting_and_is_zero_without_contrast() -> None:
    grain = np.random.default_rng(0).integers(0, 120, (256, 256, 1), dtype=np.uint8)
    assert texture_energy(grain) == pytest.approx(texture_energy(2 * grain), rel=1e-4)
    assert texture_energy(np.full((50, 60, 3), 7, np.uint8)) == 0
