"""Brushed sheet metal: a homogeneous texture, seen from anywhere on the sheet."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from anomalyvfm.data.generated import marks
from anomalyvfm.data.generated.canvas import Array, Canvas, Defects, Scene, length
from anomalyvfm.data.generated.noise import directional_noise, fractal_noise, value_noise


def brushed(rng: np.random.Generator, size: int, angle: float, coarseness: float = 1.0) -> Array:
    """Brush marks (size, size), mean 0: long streaks of three widths, wider with more coarseness."""
    fine = directional_noise(rng, size, 6, 170 / coarseness, angle)
    middle = directional_noise(rng, size, 3, 70 / coarseness, angle)
    broad = value_noise(rng, size, 2, rows=16 / coarseness)  # too broad for its angle to show
    streaks: Array = fine * np.float32(0.045) + middle * np.float32(0.03) + broad * np.float32(0.016)
    return streaks


class SheetMetal(Scene):
    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.angle = float(rng.normal(0, 0.03))
        tone = float(rng.normal(0.56, 0.012))
        sheen = fractal_noise(rng, size, 1.5, 2) * np.float32(0.018)
        streaks = brushed(rng, size, self.angle) * np.float32(rng.uniform(0.92, 1.08))
        self.base: Array = tone + sheen
        self.canvas = Canvas(self._metal(streaks))

    def _metal(self, streaks: Array) -> Array:
        return (self.base + streaks)[..., None] * np.array([0.985, 1.0, 1.02], np.float32)

    def scratch(self, rng: np.random.Generator) -> None:
        shade = rng.choice([0.83, 0.34])
        marks.scratch(
            self.canvas,
            rng,
            marks.spot(rng),
            length=float(rng.uniform(0.12, 0.4)),
            colour=(shade, shade, shade),
            angle=float(rng.uniform(0.3, np.pi - 0.3)),
            width=float(rng.uniform(0.003, 0.006)),
            opacity=float(rng.uniform(0.35, 0.7)),
        )

    def dent(self, rng: np.random.Generator) -> None:
        radius, depth = float(rng.uniform(0.04, 0.085)), float(rng.uniform(0.18, 0.32))
        marks.dent(self.canvas, rng, marks.spot(rng), radius, depth)

    def coarse_brushing(self, rng: np.random.Generator) -> None:
        """The whole sheet was brushed with a worn belt: wider, deeper marks."""
        coarseness = float(rng.uniform(1.25, 1.8))
        streaks = brushed(rng, self.canvas.size, self.angle, coarseness) * np.float32(rng.uniform(1.0, 1.15))
        self._rebrush(streaks, np.ones_like(streaks))

    def crossed_brushing(self, rng: np.random.Generator) -> None:
        """A patch polished again, in another direction."""
        window = self.canvas.near(*marks.spot(rng, 0.25), 1.0)
        wave = fractal_noise(rng, self.canvas.size, 3) * np.float32(0.03)
        distance = length(window.x * np.float32(0.7), window.y) + wave
        cover = self.canvas.cover(distance - np.float32(rng.uniform(0.1, 0.18)), softness=0.05)
        turn = float(rng.choice([-1, 1]) * rng.uniform(0.25, 0.7))
        self._rebrush(brushed(rng, self.canvas.size, self.angle + turn), cover)

    def _rebrush(self, streaks: Array, cover: Array) -> None:
        self.canvas.paint(self.canvas.everywhere(), self._metal(streaks), cover)

    defects: ClassVar[Defects] = {
        "scratch": scratch,
        "coarse_brushing": coarse_brushing,
        "dent": dent,
        "crossed_brushing": crossed_brushing,
    }
