"""Good images under another light: how features then change says what no defect should be told from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Exposures a stop and a half apart, a lamp moved to one side, a warmer or a colder one, a camera's other
# tone curve: what happens on a line between one shift and the next.
_GAIN, _TONE, _COLOUR, _SLOPE = 0.5, 0.4, 0.1, 0.8
_NOISE = 0.01
_KEY_BITS = 56


def is_augmented(key: int, share: float) -> bool:
    """Whether the image with this key is among the ``share`` that is learned under another light, too.

    A rule of the image alone: whoever learns it, or takes it back, on whichever machine, decides alike.
    """
    return key < share * (1 << _KEY_BITS)


def augment_light(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """An image (H, W, 3) as a camera might see it in other light; what exceeds white or black is lost.

    v ↦ v^γ · (1 + s·⟨direction, place⟩) · colour · gain, plus the sensor's noise, on values 0 to 1.
    """
    height, width = pixels.shape[:2]
    bearing, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, _SLOPE)
    gain = np.exp(rng.uniform(-_GAIN, _GAIN))
    colour = np.exp(rng.uniform(-_COLOUR, _COLOUR, 3))
    tone = np.exp(rng.uniform(-_TONE, _TONE))
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    down = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    field = 1 + np.float32(slope) * (
        np.float32(np.cos(bearing)) * across + np.float32(np.sin(bearing)) * down
    )
    curve = np.linspace(0, 1, 256, dtype=np.float32) ** np.float32(tone)
    lit = np.clip(curve[pixels] * field[..., None] * (colour * gain).astype(np.float32), 0, 1)
    lit += np.float32(_NOISE) * rng.standard_normal(lit.shape, np.float32)
    result: NDArray[np.uint8] = np.clip(lit * 255 + 0.5, 0, 255).astype(np.uint8)
    return result
