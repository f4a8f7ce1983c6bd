"""Open-cell foam: a homogeneous texture whose pore size and density are what must be right."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from anomalyvfm.data.generated import marks
from anomalyvfm.data.generated.canvas import Array, Canvas, Defects, Scene, length
from anomalyvfm.data.generated.noise import cellular_noise, fractal_noise, value_noise

PORES = 34.0  # across the image
COLOUR = np.array([0.84, 0.79, 0.66], np.float32)


def pores(rng: np.random.Generator, size: int, count: float, openness: float) -> Array:
    """Brightness (size, size) of `count` pores a side: bright walls, floors dark by `openness`."""
    nearest, second = cellular_noise(rng, size, count, jitter=0.9)
    wall = np.clip((second - nearest) * np.float32(3.2), 0, 1)  # 0 on a wall between two pores
    pore = wall * wall * (3 - 2 * wall)
    depth = value_noise(rng, size, count * 0.5) * np.float32(0.12) + 1
    floor = np.clip(1 - nearest * np.float32(1.1), 0, 1)
    deep = floor * np.float32(0.55) + np.float32(0.45)
    brightness: Array = 1 - pore * depth * deep * np.float32(openness)
    return brightness


class Foam(Scene):
    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.openness = float(rng.normal(0.52, 0.012))
        self.shade: Array = float(rng.normal(0.87, 0.012)) + fractal_noise(rng, size, 2) * np.float32(0.016)
        grain = value_noise(rng, size, 150) * np.float32(0.02)
        self.canvas = Canvas(self._foam(pores(rng, size, PORES * float(rng.normal(1, 0.015)), self.openness)))
        self.canvas.rgb += grain[..., None]

    def _foam(self, brightness: Array) -> Array:
        lit = self.shade * brightness
        # light that bounces inside a pore takes the foam's colour once more
        return lit[..., None] * (COLOUR * (np.float32(0.82) + np.float32(0.18) * brightness[..., None]))

    def coarse_pores(self, rng: np.random.Generator) -> None:
        """The whole block foamed too far: fewer, larger pores."""
        count = PORES / float(rng.uniform(1.1, 1.3))
        self._refoam(rng, count, self.openness, np.ones_like(self.shade))

    def dense_zone(self, rng: np.random.Generator) -> None:
        """A collapsed zone: smaller pores, more closed."""
        window = self.canvas.everywhere()
        angle = float(rng.uniform(0, np.pi))
        along, across = window.turned(angle)
        shift = float(rng.uniform(-0.2, 0.2))
        wave = fractal_noise(rng, self.canvas.size, 3) * np.float32(0.025)
        half_x, half_y = float(rng.uniform(0.13, 0.24)), float(rng.uniform(0.09, 0.13))
        distance = length((along - shift) * np.float32(half_y / half_x), across + shift / 2) + wave - half_y
        cover = self.canvas.cover(distance, softness=0.06)
        self._refoam(
            rng, PORES * float(rng.uniform(1.35, 1.7)), self.openness * float(rng.uniform(0.6, 0.8)), cover
        )

    def tear(self, rng: np.random.Generator) -> None:
        """A cut that gapes, with a frayed, bright lip."""
        place, long = marks.spot(rng, 0.2), float(rng.uniform(0.1, 0.24))
        angle, width = float(rng.uniform(0, np.pi)), float(rng.uniform(0.011, 0.018))
        marks.scratch(self.canvas, rng, place, long, COLOUR, angle=angle, width=1.8 * width, opacity=0.35)
        dark = COLOUR * np.float32(0.22)
        marks.scratch(self.canvas, rng, place, 0.95 * long, dark, angle=angle, width=width, opacity=0.85)

    def stain(self, rng: np.random.Generator) -> None:
        gain = 1 - np.array([0.55, 0.9, 1.2], np.float32) * np.float32(rng.uniform(0.12, 0.24))
        marks.stain(self.canvas, rng, marks.spot(rng), float(rng.uniform(0.035, 0.08)), gain)

    def _refoam(self, rng: np.random.Generator, count: float, openness: float, cover: Array) -> None:
        foam = self._foam(pores(rng, self.canvas.size, count, openness))
        self.canvas.paint(self.canvas.everywhere(), foam, cover)

    defects: ClassVar[Defects] = {
        "coarse_pores": coarse_pores,
        "tear": tear,
        "dense_zone": dense_zone,
        "stain": stain,
    }
