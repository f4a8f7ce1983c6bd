"""Thresholds by an image's own map: as false discoveries would have it, whatever the light."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyvfm.decision.own_thresholds import _SHARES, levels_of, own_thresholds, usual_levels

LOCATION = (1.0, 0.2)
LOW, HIGH = 3.0, 6.0
"""The model's, in standard deviations: distances of 1.6 and 2.2."""


def good(seed: int, count: int = 1) -> NDArray[np.float64]:
    """(count, 24, 32) distances of images of which each is a little nearer or farther than others."""
    rng = np.random.default_rng(seed)
    images: NDArray[np.float64] = rng.normal(*LOCATION, (count, 24, 32)).clip(0.01)
    return images * np.exp(rng.normal(0, 0.05, (count, 1, 1)))


USUAL = usual_levels(levels_of(good(0, 200)))


def own(distances: NDArray[np.float64], low: float = LOW, high: float = HIGH) -> tuple[float, float]:
    """By a map of distances, and back in distances."""
    center, spread = LOCATION
    map_ = ((distances - center) / spread).astype(np.float32)
    found = own_thresholds(map_, LOCATION, USUAL, low, high)
    return found[0] * spread + center, found[1] * spread + center


def wide(seed: int, by: float, rows: int = 12) -> NDArray[np.float64]:
    """A good image of which some rows are farther."""
    image: NDArray[np.float64] = good(seed)[0]
    image[:rows] += by
    return image


def test_levels_are_what_no_more_than_the_share_of_patches_exceeds() -> None:
    images = good(1, 5)
    for image, levels in zip(images, levels_of(images), strict=True):
        for share, level in zip(_SHARES, levels, strict=True):
            assert level in image
            lower = image[image < level].max(initial=0)
            assert (image > level).mean() <= share < (image > lower).mean()


def test_in_a_usual_image_the_thresholds_are_the_models() -> None:
    for image in good(2, 20):
        assert own(image) == pytest.approx((1.6, 2.2), rel=0.03)
        small = image.copy()
        small[3:5, 3:5] = 4  # a small defect
        assert own(small) == pytest.approx((1.6, 2.2), rel=0.03)


def test_a_wide_faint_defect_is_outlined_further_down() -> None:
    image = wide(3, 0.45)
    low, high = own(image)
    assert low < 1.5 and high == pytest.approx(2.2, rel=0.03)
    outlined = image > low
    assert outlined[:12].mean() > 0.5 > 5 * outlined[12:].mean()


@given(st.integers(0, 2**32), st.floats(0, 2), st.integers(1, 16), st.floats(1, 5))
def test_a_lower_threshold_has_twice_the_patches_above_of_any_usual_image(
    seed: int, by: float, rows: int, low: float
) -> None:
    image = wide(seed, by, rows)
    found, _ = own(image, low)
    whole = max(1, levels_of(image[None])[0, -1] / USUAL[-1])
    if whole > 1 and image.max() < 0.9 * whole * 2.2:
        assert found == pytest.approx(1 + 0.2 * low)
        return
    assert found <= whole * (1 + 0.2 * low) + 1e-6
    if found < whole * (1 + 0.2 * low) - 1e-6:
        usual = _SHARES[np.isclose(USUAL, found / whole, rtol=1e-5)].min()
        assert (image > found).mean() >= 2 * usual - 2 / image.size


@given(st.integers(0, 2**32), st.floats(1.5, 5), st.floats(0.3, 2))
def test_in_another_light_everything_grows_alike(seed: int, light: float, by: float) -> None:
    """An image in which every patch is farther is outlined as it would be at its own light."""
    image = wide(seed, by) * 1.3
    image[20, 20] = 4  # what stands out
    once, again = own(image), own(image * light)
    np.testing.assert_allclose(again, np.multiply(once, light), rtol=1e-5)
    assert ((image > once[0]) == (image * light > again[0])).mean() > 0.99


def test_where_nothing_stands_out_all_of_an_odd_image_is_outlined() -> None:
    """In another light, or where a defect fills the image: nobody can tell."""
    image = good(4)[0] * 2.3
    low, high = own(image)
    assert (low, high) == pytest.approx((1.6, 2.2))
    assert (image > low).mean() > 0.8


@given(st.integers(0, 2**32), st.floats(0, 2), st.floats(0.5, 3))
def test_what_lies_outside_the_region_of_interest_is_not_there(seed: int, by: float, light: float) -> None:
    image = wide(seed, by) * light
    outside = np.concatenate([image, np.zeros((40, image.shape[1]))])
    assert own(outside) == pytest.approx(own(image), rel=1e-6)
    np.testing.assert_array_equal(levels_of(outside[None]), levels_of(image[None]))


def test_where_nothing_counts_the_thresholds_are_the_models() -> None:
    nothing = np.zeros((24, 32))
    assert own(nothing) == pytest.approx((1.6, 2.2))
    assert not levels_of(nothing[None]).any()
    zero = usual_levels(levels_of(nothing[None]))
    assert own_thresholds(np.ones((4, 4), np.float32), LOCATION, zero, LOW, HIGH) == (LOW, HIGH)
