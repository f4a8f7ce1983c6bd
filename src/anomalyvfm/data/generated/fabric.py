"""Woven cloth with a print: motifs from a fixed set may lie anywhere, turned one of four ways."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from anomalyvfm.data.generated import marks
from anomalyvfm.data.generated.canvas import Array, Canvas, Defects, Scene, box, circle, length
from anomalyvfm.data.generated.noise import scattered, value_noise

YARNS = 32  # across the image
INKS = np.array([[0.30, 0.42, 0.66], [0.74, 0.34, 0.30], [0.36, 0.55, 0.42]], np.float32)
MOTIFS = ("flower", "leaf", "ring")


def motif_distance(kind: str, x: Array, y: Array, radius: float) -> Array:
    """Signed distance to a motif's outline; "cross" is in nobody's design."""
    if kind == "flower":
        angle = np.arctan2(y, x)
        reach: Array = np.cos(5 * angle) * np.float32(0.28 * radius) + np.float32(0.72 * radius)
        petals: Array = length(x, y) - reach
        return np.maximum(petals, -circle(x, y, 0.2 * radius))
    if kind == "leaf":
        halves = np.maximum(
            circle(x, y - np.float32(0.75 * radius), 1.2 * radius),
            circle(x, y + np.float32(0.75 * radius), 1.2 * radius),
        )
        return np.maximum(halves, np.float32(0.06 * radius) - np.abs(y + 0 * x))
    if kind == "ring":
        return np.abs(circle(x, y, 0.62 * radius)) - np.float32(0.16 * radius)
    return np.minimum(box(x, y, radius * 0.85, radius * 0.2), box(x, y, radius * 0.2, radius * 0.85))


class Fabric(Scene):
    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.angle = float(rng.normal(0, 0.01))
        self.phase = rng.random(2)
        self.warp_tone = rng.normal(1, 0.025, 3 * YARNS).astype(np.float32)
        self.weft_tone = rng.normal(1, 0.025, 3 * YARNS).astype(np.float32)
        self.wobble = (
            value_noise(rng, size, 4) * np.float32(0.14),
            value_noise(rng, size, 4) * np.float32(0.14),
        )
        fibre = value_noise(rng, size, 170) * np.float32(0.025)
        shade = 1 + value_noise(rng, size, 2) * np.float32(0.015)
        self.canvas = Canvas((self._weave(size) + fibre[..., None]) * shade[..., None])
        self.radius = float(rng.normal(0.075, 0.001))
        self.motifs = scattered(rng, 100, gap=2.5 * self.radius, margin=-0.04)
        self.motifs[:, 2] = np.floor(self.motifs[:, 2] / (np.pi / 2)) * (np.pi / 2) + self.angle
        for k, (x, y, turn) in enumerate(self.motifs):
            self._print(MOTIFS[k % 3], INKS[k % 3], float(x), float(y), float(turn))

    def _yarns(self) -> tuple[Array, Array]:
        """Place of every pixel, counted in warp and in weft yarns."""
        along, across = self.canvas.everywhere().turned(self.angle)
        return self._count(along, 0), self._count(across, 1)

    def _count(self, place: Array, axis: int) -> Array:
        return place * np.float32(YARNS) + self.wobble[axis] + np.float32(1.5 * YARNS + self.phase[axis])

    def _weave(self, size: int) -> Array:
        """A twill (size, size, 3): each yarn goes over two and under two, one further in each row."""
        ramp = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
        c, s = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        u = self._count(c * ramp[None, :] + s * ramp[:, None], 0)
        v = self._count(c * ramp[:, None] - s * ramp[None, :], 1)
        i, j = u.astype(np.int64), v.astype(np.int64)
        from_warp, from_weft = u - i - np.float32(0.5), v - j - np.float32(0.5)
        warp_on_top = (i + j) % 4 < 2
        offset = np.where(warp_on_top, from_warp, from_weft)
        tone = np.where(warp_on_top, self.warp_tone[i], self.weft_tone[j])
        roundness = 1 - np.float32(1.5) * offset * offset
        light = tone * roundness * np.where(warp_on_top, np.float32(0.77), np.float32(0.70))
        return light[..., None] * np.array([1.0, 0.975, 0.92], np.float32)

    def _print(self, kind: str, ink: Array, x: float, y: float, turn: float) -> None:
        window = self.canvas.near(x, y, 1.1 * self.radius)
        along, across = window.turned(turn)
        cover = self.canvas.cover(motif_distance(kind, along, across, self.radius), softness=0.002)
        self.canvas.tint(window, 1 - np.float32(0.85) * (1 - ink), cover)

    def missing_yarn(self, rng: np.random.Generator) -> None:
        """One yarn is gone over part of its way: a dark lane."""
        warp, weft = self._yarns()
        across, along = (warp, weft) if rng.random() < 0.5 else (weft, warp)
        yarn = int(1.5 * YARNS + rng.uniform(-0.38, 0.38) * YARNS) + 0.5
        start = 1.5 * YARNS + rng.uniform(-0.4, 0.1) * YARNS
        end = start + rng.uniform(0.15, 0.5) * YARNS
        lane = self.canvas.cover((np.abs(across - np.float32(yarn)) - np.float32(0.42)) / YARNS)
        part = self.canvas.cover((np.maximum(start - along, along - end)) / np.float32(YARNS), softness=0.01)
        depth = float(rng.uniform(0.4, 0.62))
        self.canvas.tint(self.canvas.everywhere(), (depth, depth, depth), lane * part)

    def snag(self, rng: np.random.Generator) -> None:
        """A yarn pulled into a loop that lies on the cloth."""
        x, y = marks.spot(rng)
        radius = float(rng.uniform(0.03, 0.055))
        window = self.canvas.near(x, y, 2.2 * radius)
        along, across = window.turned(float(rng.uniform(0, np.pi)))
        loop = np.abs(length(along, across * np.float32(rng.uniform(1.5, 2.4))) - radius)
        thick = max(0.0075, 0.7 * self.canvas.pixel)
        shadow = self.canvas.cover(loop - np.float32(1.5 * thick), softness=0.006)
        self.canvas.tint(window, (0.5, 0.5, 0.52), shadow)
        yarn = self.canvas.cover(loop - np.float32(thick))
        self.canvas.paint(window, (0.86, 0.84, 0.79), yarn, opacity=0.85)

    def stain(self, rng: np.random.Generator) -> None:
        gain = 1 - np.array([0.6, 0.9, 1.3], np.float32) * np.float32(rng.uniform(0.18, 0.34))
        marks.stain(self.canvas, rng, marks.spot(rng), float(rng.uniform(0.04, 0.085)), gain)

    def wrong_motif(self, rng: np.random.Generator) -> None:
        """A motif of another design, or one of this design printed twice, slightly apart."""
        which = int(rng.integers(len(MOTIFS)))
        twice, (way, shift) = bool(rng.random() < 0.5), rng.uniform([0, 0.25], [2 * np.pi, 0.45])
        if twice:
            inside = np.flatnonzero(np.abs(self.motifs[:, :2] - 0.5).max(axis=1) < 0.45)
            which = int(inside[int(rng.integers(len(inside)))])
            x, y, turn = (float(value) for value in self.motifs[which])
            x, y = x + shift * self.radius * np.cos(way), y + shift * self.radius * np.sin(way)
            self._print(MOTIFS[which % 3], INKS[which % 3], x, y, turn)
        else:
            self._print("cross", INKS[which], *marks.spot(rng), self.angle)

    defects: ClassVar[Defects] = {
        "missing_yarn": missing_yarn,
        "snag": snag,
        "stain": stain,
        "wrong_motif": wrong_motif,
    }
