"""The light an image was taken in, in numbers; and good images under another light.

How features change with the light says what no defect should be told from. Where the light itself may be the
defect, a bleached or a scorched part, its numbers are judged on their own.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Exposures a stop and a half apart, a lamp moved to one side, a warmer or a colder one, a camera's other
# tone curve: what happens on a line between one shift and the next.
_GAIN, _TONE, _COLOUR, _SLOPE = 0.5, 0.4, 0.1, 0.8
_NOISE = 0.01
_KEY_BITS = 56

LIGHT_NUMBERS = 4
"""What `light_of` tells of an image."""
# Grey levels: below these, brightness and contrast are noise.
_LEAST = 4


def light_of(pixels: Tensor, inside: Tensor | None = None) -> Tensor:
    """(B, 4) logarithms of brightness, contrast, and red and blue against green, of (B, H, W, 3) uint8.

    Brightness and contrast are mean and standard deviation of the grey levels, of what is ``inside`` (H, W)
    where only that counts. Float32, added up row by row: a runtime may add up a hundred thousand values one
    by one.
    """
    values = pixels.float()
    weights = torch.ones(pixels.shape[1:3], device=pixels.device) if inside is None else inside.float()
    weights = weights / weights.mean(1).mean(0)
    colours = (values * weights[..., None]).mean(2).mean(1)
    red, green, blue = (colours + _LEAST).log().unbind(1)
    brightness = colours.mean(1)
    grey = values.mean(3) - brightness[:, None, None]
    contrast = (grey.square() * weights).mean(2).mean(1).sqrt()
    return torch.stack([(brightness + _LEAST).log(), (contrast + _LEAST).log(), red - green, blue - green], 1)


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
