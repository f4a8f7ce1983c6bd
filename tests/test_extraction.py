"""Files to features: exposure, tiles, broken sources, keys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm import backbones
from anomalyvfm.data import Canvas
from anomalyvfm.data.generated import draw_good
from anomalyvfm.extraction import Extractor, ImageSource, standard_exposure
from anomalyvfm.presets import ImageSettings


def part(seed: int = 0, size: int = 64) -> np.ndarray:
    return draw_good("gear", size, np.random.default_rng(seed))


def test_standard_exposure_gives_one_mean_and_contrast() -> None:
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(90, 20, (64, 64, 3)), 0, 255).astype(np.uint8)
    result = standard_exposure(image)
    assert result.mean() == pytest.approx(127, abs=1)
    assert result.std() == pytest.approx(48 * 20 / 24, rel=0.03)  # 4 grey levels bound the gain


@given(gain=st.floats(0.6, 1.3), offset=st.floats(-10, 20))
def test_standard_exposure_does_not_see_the_light(gain: float, offset: float) -> None:
    image = np.clip(np.random.default_rng(1).normal(110, 25, (48, 48, 3)), 20, 190)
    lit = np.clip(image * gain + offset, 0, 255)
    one, other = (standard_exposure(i.astype(np.uint8)).astype(float) for i in (image, lit))
    assert np.abs(one - other).mean() < 6
    assert np.abs(image - lit).mean() > 6 or abs(gain - 1) < 0.3


def test_colour_differences_survive() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0], image[:16, :, 1] = 200, 80
    result = standard_exposure(image).astype(int)
    assert (result[..., 0] > result[..., 1]).all()
    assert (result[:16, :, 1] > result[16:, :, 1]).all()


def test_a_uniform_image_gives_no_noise() -> None:
    image = np.full((32, 32, 3), 200, np.uint8)
    image[::2] += 1
    assert np.ptp(standard_exposure(image)) <= 12


def extractor(**settings: object) -> Extractor:
    backbone = backbones.load("efficientnet-lite0")
    return Extractor(backbone, Canvas(64, 64), ImageSettings.model_validate(settings), batch=4)


def test_broken_sources_keep_their_place_in_the_batch() -> None:
    sources: list[ImageSource] = [part(0), b"no image", part(1), np.zeros((2, 2)), part(2)]
    first, second = extractor().extract(sources)
    assert (list(first.broken), len(first.images), len(first.sources)) == ([1, 3], 2, 4)
    assert (list(second.broken), len(second.images), len(second.sources)) == ([], 1, 1)
    assert first.features is not None
    assert first.features.patches.shape[:3] == (2, 4, 4)


def test_a_batch_of_broken_sources_has_no_features() -> None:
    (only,) = extractor().extract([b"", b"x"])
    assert only.features is None
    assert list(only.broken) == [0, 1]


def test_keys_tell_pixels_apart_and_nothing_else() -> None:
    keys = [key for _, key in extractor().keys([part(0), part(0).copy(), part(1)])]
    assert keys[0] == keys[1] != keys[2]
