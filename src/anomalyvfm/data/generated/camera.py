"""Lens, light and sensor: from a painted surface to the photograph of it.

Everything after the lens acts on each pixel alone, so a pixel that a defect does not touch is the same
in the photographs with and without it. No lighting condition moves a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalyvfm.data.generated.canvas import Array


@dataclass(frozen=True)
class Light:
    """How a condition differs from regular light."""

    gain: float = 1.0
    gamma: float = 1.0
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    slope: float = 0.08  # brightness gained across the image, toward the lamp
    bearing: float = 225.0  # degrees: where the lamp stands, 0 to the right, 90 below


LIGHTS = {
    "regular": Light(),
    "overexposed": Light(gain=1.33),
    "underexposed": Light(gain=0.5),
    "shift_1": Light(gain=0.95, gamma=0.9, colour=(1.08, 1.0, 0.87), slope=0.38, bearing=0.0),
    "shift_2": Light(gain=0.98, gamma=1.18, colour=(0.9, 1.0, 1.1), slope=0.38, bearing=100.0),
}
"""Conditions by name. "mixed" is one more: a light drawn at random for every image."""

ALL_CONDITIONS = (*LIGHTS, "mixed")


def through_lens(surface: Array, spread: float) -> Array:
    """Blur (S, S) or (S, S, C) with the taps (spread, 1 - 2 spread, spread) along both axes."""
    for axis in (0, 1):
        inner = np.swapaxes(surface, 0, axis)
        padded = np.concatenate([inner[:1], inner, inner[-1:]])
        blurred = padded[1:-1] * np.float32(1 - 2 * spread) + (padded[:-2] + padded[2:]) * np.float32(spread)
        surface = np.swapaxes(blurred, 0, axis)
    return surface


class Camera:
    """One exposure: the same instance photographs two surfaces with the same light and the same noise."""

    def __init__(self, size: int, condition: str, rng: np.random.Generator) -> None:
        self.spread = float(rng.uniform(0.06, 0.16))
        gain = float(rng.normal(1.0, 0.02))
        slope, bearing = float(rng.normal(0, 0.02)), float(rng.normal(0, 12))
        # the noise of two conditions differs, as between two shots; everything drawn above is shared
        noise_rng = np.random.default_rng([ALL_CONDITIONS.index(condition), int(rng.integers(2**62))])
        light = _random_light(noise_rng) if condition == "mixed" else LIGHTS[condition]
        ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
        direction = np.deg2rad(light.bearing + bearing)
        x, y = ramp[None, :], ramp[:, None]
        field = 1 + np.float32(light.slope + slope) * (
            np.float32(np.cos(direction)) * x + np.float32(np.sin(direction)) * y
        )
        field = field * (1 - np.float32(0.12) * (x * x + y * y))
        colour = np.asarray(light.colour, np.float32) * np.float32(light.gain * gain)
        self._light: Array = field[..., None] * colour
        self._gamma = light.gamma
        self._noise: Array = noise_rng.standard_normal((size, size, 3), np.float32)

    def photograph(self, blurred: Array) -> npt.NDArray[np.uint8]:
        """The image (S, S, 3) of a surface that the lens has already blurred."""
        signal = np.clip(blurred, 0.004, 1)
        if self._gamma != 1:
            signal = signal ** np.float32(self._gamma)
        signal = signal * self._light
        # shot noise grows with the square root of the light, read noise does not
        signal += self._noise * (np.float32(0.004) + np.float32(0.009) * np.sqrt(signal))
        return np.asarray(np.clip(signal * 255 + 0.5, 0, 255), np.uint8)


def _random_light(rng: np.random.Generator) -> Light:
    warm = float(rng.uniform(-0.1, 0.1))
    return Light(
        gain=float(np.exp(rng.uniform(np.log(0.6), np.log(1.4)))),
        gamma=float(rng.uniform(0.85, 1.25)),
        colour=(1 + warm, 1.0, 1 - warm),
        slope=float(rng.uniform(0.1, 0.45)),
        bearing=float(rng.uniform(0, 360)),
    )
