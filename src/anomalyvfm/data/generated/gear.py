"""A turned and milled gear lying on a dark mat, always nearly the same way up."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from anomalyvfm.data.generated import marks
from anomalyvfm.data.generated.canvas import Array, Canvas, Defects, Scene, box, circle, clamp, length
from anomalyvfm.data.generated.noise import fractal_noise, value_noise

TEETH, HOLES = 24, 6
ROOT, TIP = 0.365, 0.425
RIM, HUB, BORE = 0.305, 0.15, 0.072  # radii: inside of the rim, hub, shaft
HOLE_AT, HOLE = 0.228, 0.042


class Gear(Scene):
    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.turn = float(rng.normal(0, 0.012))
        self.centre = 0.5 + rng.normal(0, 0.004, 2)
        x, y = float(self.centre[0]), float(self.centre[1])
        mat = np.float32(0.13) + value_noise(rng, size, 140) * np.float32(0.018)
        mat = mat + fractal_noise(rng, size, 4) * np.float32(0.008)
        self.canvas = Canvas(mat[..., None] * np.array([0.9, 1.0, 1.15], np.float32))
        window = self.canvas.near(x, y, 1.0)
        along, across = window.turned(self.turn)
        radius, angle = length(along, across), np.arctan2(across, along)
        toward_shadow = (along + across) / np.maximum(radius, np.float32(1e-3)) * np.float32(0.707)
        outline = _teeth(radius, angle)
        shade = self.canvas.cover(outline - np.float32(0.02) * toward_shadow, softness=0.04)
        self.canvas.tint(window, (0.35, 0.35, 0.35), shade)
        self.mat: Array = self.canvas.rgb.copy()

        steel = self._turned_steel(rng, radius, angle, toward_shadow)
        self.canvas.paint(window, steel, self.canvas.cover(outline))
        self.unbored: Array = self.canvas.rgb.copy()
        openings = _openings(along, across, radius, angle)
        self.canvas.tint(window, (0.55, 0.55, 0.56), self.canvas.cover(openings - np.float32(0.006), 0.004))
        inside = self.mat * np.float32(0.65)
        self.canvas.paint(window, inside, self.canvas.cover(openings))
        self.body: Array = self.canvas.cover(np.maximum(outline, -openings))

    def _turned_steel(self, rng: np.random.Generator, radius: Array, angle: Array, side: Array) -> Array:
        """Steel (S, S, 3) with the lathe's rings, the fan-shaped gleam they cause, and the recessed web."""
        rings = np.interp(radius, np.linspace(0, 0.8, 260), rng.normal(0, 1, 260)).astype(np.float32)
        gleam = np.cos(2 * (angle - np.float32(0.9 + rng.normal(0, 0.06)))).astype(np.float32)
        tone = np.float32(0.6) + np.float32(0.028) * rings + np.float32(0.055) * gleam
        tone += fractal_noise(rng, self.canvas.size, 5) * np.float32(0.01)
        web = self.canvas.cover(
            np.abs(radius - np.float32((RIM + HUB) / 2)) - np.float32((RIM - HUB) / 2), 0.004
        )
        tone = tone * (1 - np.float32(0.22) * web)
        for edge, sign in ((RIM, 1), (HUB, -1), (BORE + 0.012, 1)):
            step = np.exp(-(((radius - np.float32(edge)) / np.float32(0.005)) ** 2))
            tone = tone + np.float32(0.13 * sign) * step * side
        return np.asarray(tone[..., None] * np.array([0.97, 1.0, 1.03], np.float32))

    def _at(self, radius: float, angle: float) -> marks.Place:
        angle += self.turn
        return float(self.centre[0] + radius * np.cos(angle)), float(self.centre[1] + radius * np.sin(angle))

    def chipped_tooth(self, rng: np.random.Generator) -> None:
        tooth = 2 * np.pi * int(rng.integers(TEETH)) / TEETH
        x, y = self._at(TIP + 0.004, tooth + float(rng.normal(0, 0.03)))
        bite = float(rng.uniform(0.022, 0.038))
        window = self.canvas.near(x, y, 1.5 * bite)
        rough = rng.normal(0, 0.09, 5)
        angle = np.arctan2(window.y, window.x)
        jagged = sum(np.float32(rough[k]) * np.cos((k + 2) * angle + k) for k in range(5))
        distance = circle(window.x, window.y, bite) + np.float32(bite) * jagged
        # all of every pixel at the edge, or a fringe of the lost steel would stay
        on_steel = clamp(self.body[window.rows, window.cols] * 20)
        self.canvas.paint(
            window, (0.72, 0.72, 0.73), self.canvas.cover(distance - np.float32(0.005)) * on_steel
        )
        mat = self.mat[window.rows, window.cols]
        self.canvas.paint(window, mat, self.canvas.cover(distance) * on_steel)

    def undrilled_hole(self, rng: np.random.Generator) -> None:
        """One of the holes in the web was never drilled."""
        x, y = self._at(HOLE_AT, 2 * np.pi * int(rng.integers(HOLES)) / HOLES)
        window = self.canvas.near(x, y, 1.5 * HOLE)
        plain = self.unbored[window.rows, window.cols]
        self.canvas.paint(window, plain, self.canvas.cover(circle(window.x, window.y, HOLE + 0.01)))

    def scratch(self, rng: np.random.Generator) -> None:
        radius = float(rng.choice([0.335, 0.11]) + rng.normal(0, 0.01))
        place = self._at(radius, float(rng.uniform(0, 2 * np.pi)))
        tone = float(rng.choice([0.88, 0.3]))
        marks.scratch(
            self.canvas,
            rng,
            place,
            float(rng.uniform(0.07, 0.2)),
            (tone, tone, tone),
            width=float(rng.uniform(0.003, 0.006)),
            opacity=float(rng.uniform(0.5, 0.8)),
            within=self.body,
        )

    def rust(self, rng: np.random.Generator) -> None:
        place = self._at(float(rng.uniform(0.3, 0.37)), float(rng.uniform(0, 2 * np.pi)))
        gain = 1 - np.array([0.5, 1.1, 1.6], np.float32) * np.float32(rng.uniform(0.18, 0.4))
        marks.stain(self.canvas, rng, place, float(rng.uniform(0.025, 0.05)), gain, within=self.body)

    defects: ClassVar[Defects] = {
        "chipped_tooth": chipped_tooth,
        "undrilled_hole": undrilled_hole,
        "scratch": scratch,
        "rust": rust,
    }


def _openings(along: Array, across: Array, radius: Array, angle: Array) -> Array:
    """Signed distance to the union of the bore with its keyway and the holes in the web."""
    bore: Array = radius - np.float32(BORE)
    keyway = box(along, across + np.float32(BORE + 0.004), 0.02, 0.018, 0.002)
    step = np.float32(2 * np.pi / HOLES)
    folded = angle - np.round(angle / step) * step
    hole: Array = circle(radius * np.cos(folded) - np.float32(HOLE_AT), radius * np.sin(folded), HOLE)
    return np.minimum(np.minimum(bore, keyway), hole)


def _teeth(radius: Array, angle: Array) -> Array:
    """About the signed distance to the gear's outer outline, with trapezoid teeth."""
    # 1.9 makes flanks as steep as a tooth's; dividing by the slope keeps edges equally sharp everywhere
    wave = np.float32(1.9) * np.cos(TEETH * angle)
    profile = np.float32(ROOT) + np.float32(TIP - ROOT) * clamp(np.float32(0.5) + np.float32(0.5) * wave)
    steepness = np.float32(0.5 * TEETH * (TIP - ROOT)) * np.sqrt(
        np.maximum(np.float32(1.9**2) - wave * wave, 0)
    )
    slope = np.where(np.abs(wave) < 1, steepness, 0) / np.maximum(radius, np.float32(0.05))
    return (radius - profile) / np.sqrt(1 + slope * slope)
