"""The ingest gate: what it measures, against a plain computation, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from anomalyvfm.data.pixels import thrice
from anomalyvfm.line.gate import Gate, contrast_of, focus_of, torn_share

RANDOM = np.random.default_rng(0)


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return RANDOM.integers(20, 230, (120, 90, 3), np.uint8)


def test_a_good_frame_passes(image: NDArray[np.uint8]) -> None:
    assert Gate(size=(90, 120), min_focus=1.0).refusal(image) is None


def test_measures_are_those_of_a_plain_computation(image: NDArray[np.uint8]) -> None:
    grey = image.astype(np.float64).mean(2)
    assert contrast_of(image) == pytest.approx(grey.std(), rel=1e-5)
    laplacian = ndimage.laplace(grey)[1:-1, 1:-1]
    assert focus_of(image) == pytest.approx((laplacian**2).mean(), rel=1e-5)
    plane = image[:, :, 0].copy()
    assert contrast_of(thrice(plane)) == pytest.approx(plane.std(), rel=1e-5)
    assert focus_of(thrice(plane)) == pytest.approx(
        (ndimage.laplace(plane.astype(float))[1:-1, 1:-1] ** 2).mean(), rel=1e-5
    )


@pytest.mark.parametrize("level", [0, 3, 128, 255])
def test_a_blank_frame_is_refused(level: int) -> None:
    reason = Gate().refusal(np.full((64, 64, 3), level, np.uint8))
    assert reason is not None and reason.startswith("contrast: ")
    assert Gate(min_contrast=0, max_torn=0).refusal(np.full((64, 64, 3), level, np.uint8)) is None


def test_a_torn_frame_is_refused_with_its_share(image: NDArray[np.uint8]) -> None:
    image[60:] = image[59]
    assert torn_share(image) == pytest.approx(0.5)
    reason = Gate().refusal(image)
    assert reason is not None and reason.startswith("torn: the lower 50%")
    image[60:] = 128
    assert torn_share(image) == pytest.approx(59 / 120)


@pytest.mark.parametrize("level", [0, 255])
def test_a_black_or_white_background_is_not_torn(image: NDArray[np.uint8], level: int) -> None:
    image[60:] = level
    assert Gate().refusal(image) is None


def test_another_size_and_a_blurred_frame_are_refused(image: NDArray[np.uint8]) -> None:
    reason = Gate(size=(91, 120)).refusal(image)
    assert reason == "size: 90×120 pixels, and 91×120 are agreed"
    sharp = focus_of(image)
    blurred = ndimage.gaussian_filter(image.astype(float), (2, 2, 0)).astype(np.uint8)
    reason = Gate(min_focus=sharp / 2).refusal(blurred)
    assert reason is not None and reason.startswith("focus: ")
