"""The light an image was taken in, judged on its own where that is asked for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyvfm.detector import Detector
from anomalyvfm.features.illumination import light_of
from tests.conftest import SMALL
from tests.quick_detectors import good

SETTINGS = {**SMALL, "gaussian.judge_light": True}

Pixels = NDArray[np.uint8]


def changed(image: Pixels, gain: float = 1.0, tint: float = 1.0) -> Pixels:
    return np.clip(image * (gain * np.array([tint, 1, 1 / tint])), 0, 255).astype(np.uint8)


@cache
def fitted(**settings: object) -> Detector:
    """Not to be changed: tests share it."""
    named = {key.replace("__", "."): value for key, value in settings.items()}
    return Detector("v2", {**SETTINGS, **named}, device="cpu").fit(good(24))


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 30))
def test_light_is_told_in_four_numbers(seed: int, height: int, width: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), np.uint8)
    for image, found in zip(pixels.astype(np.float64), light_of(torch.from_numpy(pixels)), strict=True):
        red, green, blue = np.log(image.mean((0, 1)) + 4)
        grey = image.mean(2)
        expected = [np.log(grey.mean() + 4), np.log(grey.std() + 4), red - green, blue - green]
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize(("gain", "tint"), [(1.35, 1.0), (0.6, 1.0), (1.0, 1.15)])
def test_another_light_is_a_reason_only_where_it_is_judged(window: int, gain: float, tint: float) -> None:
    detector = fitted(gaussian__window=window)
    without = fitted(gaussian__window=window, gaussian__judge_light=False)
    image = good(1, seed=9)[0]
    odd = changed(image, gain, tint)

    (verdict,), (as_it_is,) = detector.predict(odd), detector.predict(image)
    assert verdict.odd_light
    assert verdict.light is not None
    assert verdict.light > verdict.threshold
    assert verdict.as_dict()["odd_light"] is True
    assert not as_it_is.odd_light
    (unjudged,) = without.predict(odd)
    assert (unjudged.light, unjudged.odd_light) == (None, False)
    assert "light" not in unjudged.as_dict()
    assert unjudged.score < verdict.score


def test_a_defect_is_not_called_light() -> None:
    image = good(1, seed=9)[0].copy()
    image[20:30, 20:30] = 255 - image[20:30, 20:30]
    (verdict,) = fitted().predict(image)
    assert verdict.anomalous
    assert not verdict.odd_light
    assert verdict.regions


def test_a_kept_model_judges_light_alike(tmp_path: Path) -> None:
    detector = fitted()
    detector.save(tmp_path / "model")
    odd = changed(good(1, seed=9)[0], 1.3)
    (before,), (after,) = detector.predict(odd), Detector.load(tmp_path / "model", device="cpu").predict(odd)
    assert (after.score, after.light) == (before.score, before.light)
