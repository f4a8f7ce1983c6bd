"""A blister pack: tablets in a fixed grid of pockets in embossed foil."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from anomalyvfm.data.generated import marks
from anomalyvfm.data.generated.canvas import Array, Canvas, Defects, Scene, box, circle, length
from anomalyvfm.data.generated.noise import directional_noise, fractal_noise, value_noise

COLUMNS, ROWS = 4, 3
POCKET, TABLET = 0.088, 0.068  # radii
TABLET_COLOUR = np.array([0.85, 0.83, 0.785], np.float32)


class Blister(Scene):
    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.angle = float(rng.normal(0, 0.012))
        self.origin = 0.5 + rng.normal(0, 0.004, 2)
        table = np.float32(0.2) + fractal_noise(rng, size, 4) * np.float32(0.008)
        self.canvas = Canvas(table[..., None] * np.array([0.95, 1.0, 1.1], np.float32))
        self._foil(rng)
        self.tablets: list[tuple[float, float, float]] = []
        for row in range(ROWS):
            for column in range(COLUMNS):
                x, y = self._place((column - 1.5) * 0.212, (row - 1) * 0.232)
                self._pocket(x, y)
                # a tablet lies anywhere its pocket lets it, scored in any direction
                dx, dy = np.clip(rng.normal(0, 0.0035, 2), -0.009, 0.009)
                self.tablets.append((x + float(dx), y + float(dy), float(rng.uniform(0, np.pi))))
        self.floor: Array = self.canvas.rgb.copy()
        powder = value_noise(rng, size, 120)
        self.grain: Array = 1 + powder * np.float32(0.01)
        for x, y, turn in self.tablets:
            self._tablet(x, y, turn)
        for row in range(ROWS):
            for column in range(COLUMNS):
                self._highlight(*self._place((column - 1.5) * 0.212, (row - 1) * 0.232))

    def _place(self, x: float, y: float) -> tuple[float, float]:
        c, s = np.cos(self.angle), np.sin(self.angle)
        return float(self.origin[0] + c * x - s * y), float(self.origin[1] + s * x + c * y)

    def _foil(self, rng: np.random.Generator) -> None:
        size = self.canvas.size
        window = self.canvas.near(float(self.origin[0]), float(self.origin[1]), 1.0)
        along, across = window.turned(self.angle)
        distance = box(along, across, 0.455, 0.385, 0.03)
        shadow = box(along - np.float32(0.008), across - np.float32(0.012), 0.455, 0.385, 0.03)
        self.canvas.tint(window, (0.45, 0.45, 0.45), self.canvas.cover(shadow, softness=0.03))
        streaks = directional_noise(rng, size, 5, 130, self.angle) * np.float32(0.02)
        sheen = fractal_noise(rng, size, 2.5, 2) * np.float32(0.025)
        # the embossing: a lattice of small dimples, lit from the upper left
        p, q = (along + across) * np.float32(46), (along - across) * np.float32(46)
        dimples = np.sin(np.float32(np.pi) * p) * np.sin(np.float32(np.pi) * q) * np.float32(0.035)
        tone = np.float32(0.58) + streaks + sheen + dimples
        edge = np.float32(0.1) * np.exp(-(((distance + np.float32(0.006)) / np.float32(0.004)) ** 2))
        colour = (tone + edge)[..., None] * np.array([0.98, 1.0, 1.02], np.float32)
        self.canvas.paint(window, colour, self.canvas.cover(distance))

    def _pocket(self, x: float, y: float) -> None:
        """A clear dome pressed up around a flat floor: a ring, lit above left, dark below right."""
        window = self.canvas.near(x, y, 1.2 * POCKET)
        distance = circle(window.x, window.y, POCKET)
        wall = np.exp(-(((distance + np.float32(0.007)) / np.float32(0.006)) ** 2))
        side = (window.x + window.y) / np.float32(1.414 * POCKET)
        light = 1 - wall * (np.float32(0.18) * side + np.float32(0.1))
        inside = self.canvas.cover(distance)
        self.canvas.tint(window, (light * (1 - np.float32(0.07) * inside))[..., None], np.ones_like(light))

    def _tablet(
        self, x: float, y: float, turn: float, gain: Array | None = None, radius: float = TABLET
    ) -> None:
        shadow = self.canvas.near(x + 0.005, y + 0.007, 1.25 * TABLET)
        dark = self.canvas.cover(circle(shadow.x, shadow.y, radius), softness=0.016)
        self.canvas.tint(shadow, (0.62, 0.62, 0.64), dark)
        window = self.canvas.near(x, y, 1.05 * TABLET)
        distance = circle(window.x, window.y, radius)
        _, across = window.turned(turn)
        bevel = np.clip(1 + distance / np.float32(0.016), 0, 1) ** 2
        lit = 1 - bevel * (np.float32(0.11) + np.float32(0.12) * (window.x + window.y) / np.float32(radius))
        groove = across / np.float32(0.0035)
        lit = lit - np.float32(0.2) * np.exp(-(groove**2)) * (1 - bevel)
        lit = lit + np.float32(0.05) * np.exp(-((groove - 1.8) ** 2)) * (1 - bevel)
        colour = TABLET_COLOUR if gain is None else TABLET_COLOUR * gain
        lit = lit * self.grain[window.rows, window.cols]
        self.canvas.paint(window, np.clip(lit[..., None] * colour, 0, 1), self.canvas.cover(distance))

    def _highlight(self, x: float, y: float) -> None:
        """The lamp mirrored in the dome."""
        reach = 0.05
        window = self.canvas.near(x - 0.035, y - 0.043, reach)
        along, across = window.turned(2.25)
        arc = length(along / np.float32(0.006), across / np.float32(0.02))
        self.canvas.paint(window, (1, 1, 1), np.clip(1 - arc, 0, 1), 0.6)

    def _any_tablet(self, rng: np.random.Generator) -> tuple[float, float, float]:
        return self.tablets[int(rng.integers(len(self.tablets)))]

    def missing_tablet(self, rng: np.random.Generator) -> None:
        x, y, _ = self._any_tablet(rng)
        window = self.canvas.near(x + 0.003, y + 0.004, 1.3 * TABLET)
        empty = self.floor[window.rows, window.cols]
        self.canvas.paint(window, empty, self.canvas.cover(circle(window.x, window.y, TABLET + 0.013)))

    def chipped_tablet(self, rng: np.random.Generator) -> None:
        """A piece broken off the rim: the floor shows, with a rough, brighter break along it."""
        x, y, _ = self._any_tablet(rng)
        way, bite = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.018, 0.036))
        cx, cy = x + np.cos(way) * TABLET, y + np.sin(way) * TABLET
        window = self.canvas.near(cx, cy, 1.5 * bite)
        rough = rng.normal(0, 0.07, 5)
        angle = np.arctan2(window.y, window.x)
        jagged = sum(np.float32(rough[k]) * np.cos((k + 2) * angle + k) for k in range(5))
        bitten = circle(window.x, window.y, bite) + np.float32(bite) * jagged
        on_tablet = circle(window.x + np.float32(cx - x), window.y + np.float32(cy - y), TABLET)
        broken = self.canvas.cover(np.maximum(bitten - np.float32(0.006), on_tablet - np.float32(0.002)))
        face = TABLET_COLOUR * np.float32(0.8)
        self.canvas.paint(window, face, broken)
        gone = self.canvas.cover(np.maximum(bitten, on_tablet - np.float32(0.002)))
        self.canvas.paint(window, self.floor[window.rows, window.cols] * np.float32(0.8), gone)

    def wrong_tablet(self, rng: np.random.Generator) -> None:
        """Another product's tablet: a little smaller, and of a slightly different colour."""
        x, y, turn = self._any_tablet(rng)
        window = self.canvas.near(x + 0.003, y + 0.004, 1.3 * TABLET)
        empty = self.floor[window.rows, window.cols]
        self.canvas.paint(window, empty, self.canvas.cover(circle(window.x, window.y, TABLET + 0.013)))
        gains = np.array([[1.0, 0.95, 0.84], [0.94, 0.98, 1.02], [1.0, 0.92, 0.92]], np.float32)
        gain = gains[int(rng.integers(3))]
        self._tablet(x, y, turn + 0.6, gain, TABLET * float(rng.uniform(0.84, 0.93)))

    def torn_foil(self, rng: np.random.Generator) -> None:
        x, y = self._place(
            (int(rng.integers(3)) - 1) * 0.212 + rng.normal(0, 0.01), (int(rng.integers(2)) - 0.5) * 0.232
        )
        length = float(rng.uniform(0.05, 0.12))
        turn = float(rng.uniform(0, np.pi))
        wide = float(rng.uniform(0.006, 0.011))
        marks.scratch(
            self.canvas, rng, (x, y), length, (0.88, 0.88, 0.9), angle=turn, width=1.7 * wide, opacity=0.45
        )
        marks.scratch(
            self.canvas, rng, (x, y), 0.9 * length, (0.3, 0.3, 0.31), angle=turn, width=wide, opacity=0.7
        )

    defects: ClassVar[Defects] = {
        "missing_tablet": missing_tablet,
        "chipped_tablet": chipped_tablet,
        "wrong_tablet": wrong_tablet,
        "torn_foil": torn_foil,
    }
