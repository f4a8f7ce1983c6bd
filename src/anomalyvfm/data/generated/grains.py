"""Rice grains scattered on a belt: any grain may lie anywhere."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from anomalyvfm.data.generated import marks
from anomalyvfm.data.generated.canvas import Array, Canvas, Defects, Scene, clamp, ellipse
from anomalyvfm.data.generated.noise import fractal_noise, scattered, value_noise

RICE = np.array([0.82, 0.79, 0.70], np.float32)
LENGTH, WIDTH = 0.046, 0.0135  # half axes
SIDE = 0.65  # of the image, in the units of the lengths below
SHADOW = (0.006, 0.008)  # where shadows fall


class Grains(Scene):
    def __init__(self, size: int, rng: np.random.Generator) -> None:
        weave = value_noise(rng, size, 110) * np.float32(0.02) + fractal_noise(rng, size, 3) * np.float32(
            0.02
        )
        belt = np.array([0.16, 0.25, 0.36], np.float32)
        self.canvas = Canvas(belt * (1 + weave[..., None] * 2), SIDE)
        # grains may overlap a little but never stack up
        for x, y, turn in scattered(rng, 200, gap=0.048, side=SIDE)[: int(rng.integers(50, 64))]:
            self._rice(rng, float(x), float(y), float(turn))

    def _rice(
        self,
        rng: np.random.Generator,
        x: float,
        y: float,
        turn: float,
        gain: Array | None = None,
        cut: float | None = None,
    ) -> None:
        """One grain with its shadow, tinted by `gain` (3,), broken off at `cut` of its half length."""
        length = LENGTH * float(np.clip(rng.normal(1, 0.07), 0.82, 1.18))
        width = WIDTH * float(np.clip(rng.normal(1, 0.06), 0.84, 1.16))
        tone, warmth = rng.normal(1, 0.02), rng.normal(0, 0.012)
        chalk_at, chalk = rng.normal(0, 0.3), rng.uniform(0, 0.07)
        crack = rng.normal(0, 0.25, 2)

        window = self.canvas.near(x, y, 1.32 * LENGTH)
        along, across = window.turned(turn)
        distance = _grain(along, across, length, width, cut, crack)
        # the shadow is the outline moved away from the lamp, to first order; it saves a second outline
        slope = SHADOW[0] * np.sin(turn) - SHADOW[1] * np.cos(turn)
        moved = distance + np.float32(slope) * clamp(across * np.float32(1 / width), -1, 1)
        self.canvas.tint(window, (0.58, 0.58, 0.6), self.canvas.cover(moved, softness=0.013))
        height = np.sqrt(clamp(distance * np.float32(-1 / width)))
        light = (
            np.float32(0.72) + np.float32(0.3) * height - np.float32(0.012 / width) * (window.x + window.y)
        )
        peak = along * np.float32(1 / length) - np.float32(chalk_at)
        light += np.float32(chalk) * clamp(1 - np.float32(4) * peak * peak)
        colour = RICE * np.array([1, 1 - 0.3 * warmth, 1 - 2 * warmth], np.float32) * np.float32(tone)
        if gain is not None:
            colour = colour * gain
        self.canvas.paint(window, light[..., None] * colour, self.canvas.cover(distance))

    def foreign_seed(self, rng: np.random.Generator) -> None:
        x, y = marks.spot(rng, 0.07, SIDE)
        a = float(rng.uniform(0.014, 0.024))
        b = a * float(rng.uniform(0.7, 0.95))
        colour = np.array([0.44, 0.31, 0.19], np.float32) * np.float32(rng.uniform(0.7, 1.25))
        self._pebble(rng, x, y, a, b, colour, 0.0)

    def stone(self, rng: np.random.Generator) -> None:
        x, y = marks.spot(rng, 0.07, SIDE)
        a = float(rng.uniform(0.016, 0.027))
        tone = np.float32(rng.uniform(0.42, 0.6))
        self._pebble(rng, x, y, a, a * 0.8, np.array([1, 0.98, 0.93], np.float32) * tone, 0.25)

    def _pebble(
        self, rng: np.random.Generator, x: float, y: float, a: float, b: float, colour: Array, ragged: float
    ) -> None:
        turn = float(rng.uniform(0, np.pi))
        corners = rng.normal(0, 1, 4)
        shadow = self.canvas.near(x + SHADOW[0], y + SHADOW[1], 2 * a)
        self.canvas.tint(
            shadow, (0.58, 0.58, 0.6), self.canvas.cover(ellipse(*shadow.turned(turn), a, b), softness=0.012)
        )
        window = self.canvas.near(x, y, 1.7 * a)
        along, across = window.turned(turn)
        angle = np.arctan2(across, along)
        bumps = sum(
            np.float32(corners[k] * 0.3) * np.cos((k + 2) * angle + np.float32(corners[-k - 1]))
            for k in range(3)
        )
        distance = ellipse(along, across, a, b) + np.float32(ragged * b) * bumps
        height = np.sqrt(np.clip(-distance / np.float32(b), 0, 1))
        light = np.float32(0.6) + np.float32(0.45) * height - np.float32(0.12 / a) * (window.x + window.y)
        self.canvas.paint(window, light[..., None] * colour, self.canvas.cover(distance))

    def discoloured(self, rng: np.random.Generator) -> None:
        x, y = marks.spot(rng, 0.07, SIDE)
        gain = 1 - np.array([0.35, 0.75, 1.4], np.float32) * np.float32(rng.uniform(0.24, 0.46))
        self._rice(rng, x, y, float(rng.uniform(0, np.pi)), gain)

    def broken(self, rng: np.random.Generator) -> None:
        x, y = marks.spot(rng, 0.07, SIDE)
        self._rice(rng, x, y, float(rng.uniform(0, 2 * np.pi)), cut=float(rng.uniform(-0.25, 0.25)))

    defects: ClassVar[Defects] = {
        "foreign_seed": foreign_seed,
        "discoloured": discoloured,
        "broken": broken,
        "stone": stone,
    }


def _grain(
    along: Array, across: Array, length: float, width: float, cut: float | None, crack: Array | None
) -> Array:
    """Signed distance to a grain: an ellipse with blunter ends, perhaps broken off along a crooked crack."""
    bent = across + np.float32(2.5) * along * along
    blunt = along * (np.float32(0.82) + np.float32(0.18) * np.abs(along / np.float32(length)))
    distance = ellipse(blunt, bent, length, width)
    if cut is not None and crack is not None:
        edge = along - np.float32(cut * length) + np.float32(crack[0]) * across
        edge += np.float32(0.15 * width) * np.sin(across * np.float32(4 / width) + np.float32(crack[1]))
        distance = np.maximum(distance, edge)
    return distance
