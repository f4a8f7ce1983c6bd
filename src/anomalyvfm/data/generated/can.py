"""A printed drinks can, upright on a conveyor; the print must be the right one, whole and in its place."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from anomalyvfm.data.generated import marks
from anomalyvfm.data.generated.canvas import Array, Canvas, Defects, Scene, box, clamp, ellipse
from anomalyvfm.data.generated.noise import fractal_noise, value_noise

RADIUS, TOP, BOTTOM = 0.31, 0.09, 0.92
LABEL_TOP, LABEL_BOTTOM = 0.17, 0.86
PAPER, GREEN, RED, GOLD, INK = "#e9e4d6", "#2f6b4f", "#b5382f", "#c79a3c", "#2b2f38"


class Can(Scene):
    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        self.centre = 0.5 + float(rng.normal(0, 0.005))
        self.lift = float(rng.normal(0, 0.004))
        # the can stands turned a little about its own axis, and the print sits a little high or low
        self.turn, self.rise = float(rng.normal(0, 0.02)), float(rng.normal(0, 0.002))
        self.canvas = Canvas(self._conveyor(rng))
        ramp = ((np.arange(size) + 0.5) / size).astype(np.float32)
        across = np.clip((ramp - np.float32(self.centre)) / np.float32(RADIUS), -0.999, 0.999)
        self.around: Array = np.arcsin(across)[None, :]
        # edges of the round seen from slightly above: everything on the can sags toward its middle
        sag = np.float32(0.022) * np.sqrt(1 - across**2)
        self.height: Array = ramp[:, None] - sag[None, :] - np.float32(self.lift)
        self.light = self._shading(rng)
        side = np.abs(ramp[None, :] - np.float32(self.centre)) - np.float32(RADIUS)
        upright = np.maximum(np.float32(TOP) - self.height, self.height - np.float32(BOTTOM))
        self.body: Array = self.canvas.cover(np.maximum(side, upright))
        self._metal(rng)
        self.window = self.canvas.near(self.centre, (LABEL_TOP + LABEL_BOTTOM) / 2 + self.lift, 0.38)
        high = self.height[self.window.rows, self.window.cols]
        where = np.maximum(np.float32(LABEL_TOP) - high, high - np.float32(LABEL_BOTTOM))
        self.label: Array = self.canvas.cover(np.maximum(side[:, self.window.cols], where))
        self._wrap(self._printed("right"), self.label)

    def _conveyor(self, rng: np.random.Generator) -> Array:
        ramp = ((np.arange(self.size) + 0.5) / self.size).astype(np.float32)[:, None]
        wall = np.float32(0.30) - np.float32(0.1) * ramp + fractal_noise(rng, self.size, 2) * np.float32(0.01)
        belt = np.float32(0.17) + value_noise(rng, self.size, 6, rows=90) * np.float32(0.012)
        tone = np.where(ramp + np.float32(self.lift) > 0.88, belt, wall)
        return tone[..., None] * np.array([0.97, 1.0, 1.04], np.float32)

    def _shading(self, rng: np.random.Generator) -> Array:
        """Light (1, S) over the round: two soft lamps and dark flanks."""
        angle = self.around + np.float32(rng.normal(0, 0.015))
        main: Array = np.exp(-(((angle + np.float32(0.55)) / np.float32(0.22)) ** 2))
        rim: Array = np.exp(-(((angle - np.float32(0.95)) / np.float32(0.16)) ** 2))
        diffuse: Array = np.cos(angle) * np.float32(0.38) + np.float32(0.46)
        light: Array = diffuse + main * np.float32(0.2) + rim * np.float32(0.1)
        return light

    def _metal(self, rng: np.random.Generator) -> None:
        window = self.canvas.everywhere()
        brushed = value_noise(rng, self.size, 120, rows=4) * np.float32(0.02)
        tone = np.float32(0.62) + brushed
        for ring in (TOP + 0.03, TOP + 0.055, BOTTOM - 0.03):
            step = (self.height - np.float32(ring)) / np.float32(0.006)
            tone = (
                tone - np.float32(0.22) * np.exp(-(step**2)) + np.float32(0.14) * np.exp(-((step - 1.6) ** 2))
            )
        steel = (tone * self.light)[..., None] * np.array([0.98, 1.0, 1.03], np.float32)
        self.canvas.paint(window, np.clip(steel, 0, 1), self.body)
        x, y = self.centre, TOP + self.lift
        lid = self.canvas.near(x, y, RADIUS + 0.02)
        distance = ellipse(lid.x, lid.y, RADIUS, 0.03)
        metal = np.float32(0.66) - np.float32(2.5) * lid.y
        groove = np.exp(-(((distance + np.float32(0.007)) / np.float32(0.003)) ** 2))
        colour = (metal - np.float32(0.3) * groove)[..., None] * np.ones(3, np.float32)
        self.canvas.paint(lid, colour, self.canvas.cover(distance))

    def _printed(self, design: str) -> Array:
        """Colours (h, w, 3) of a flat design as it appears around the can, in the label's window."""
        flat = _label(design, max(256, self.size))
        rows, columns = flat.shape[:2]
        below_edge = self.height[self.window.rows, self.window.cols] - np.float32(LABEL_TOP + self.rise)
        v = below_edge / np.float32(LABEL_BOTTOM - LABEL_TOP)
        u = (self.around[:, self.window.cols] + np.float32(self.turn)) / np.float32(np.pi) + np.float32(0.5)
        row = clamp(v * rows - np.float32(0.5), 0, rows - 1.01)
        column = clamp(u[0] * columns - np.float32(0.5), 0, columns - 1.01)
        # bilinear, the columns first: a column of the image lies in one column of the label
        j = column.astype(np.int64)
        share = (column - j)[:, None].astype(np.float32)
        squeezed = flat[:, j] * (1 - share) + flat[:, j + 1] * share
        i, k = row.astype(np.int64), np.arange(row.shape[1])
        share = (row - i)[..., None].astype(np.float32)
        return np.asarray(squeezed[i, k] * (1 - share) + squeezed[i + 1, k] * share)

    def _wrap(self, print_: Array, cover: Array) -> None:
        lit = print_ * self.light[:, self.window.cols, None]
        self.canvas.paint(self.window, clamp(lit), cover)

    def _point(self, around: float, height: float) -> marks.Place:
        """Where in the image a place on the can lies, from its angle and its height."""
        sag = 0.022 * np.cos(around)
        return float(self.centre + RADIUS * np.sin(around)), float(height + sag + self.lift)

    def swapped_print(self, rng: np.random.Generator) -> None:
        """The label of a sister product: one element differs, everything else is right."""
        design = str(rng.choice(["fruit", "word", "bands"]))
        right, wrong = self._printed("right"), self._printed(design)
        differs = clamp(np.abs(right - wrong).max(axis=2) * 12)
        self._wrap(wrong, differs * self.label)

    def smeared_print(self, rng: np.random.Generator) -> None:
        """Ink dragged around the can before it dried."""
        x, y = self._point(float(rng.uniform(-0.5, 0.5)), float(rng.uniform(0.3, 0.7)))
        pulled = self._printed("right")
        step = max(1, round(0.012 * self.size))
        total = pulled.copy()
        for k in range(1, 6):
            total += np.roll(pulled, k * step, axis=1)
        window = self.canvas.near(x, y, 1.0)
        half_x, half_y = float(rng.uniform(0.08, 0.14)), float(rng.uniform(0.035, 0.07))
        wave = fractal_noise(rng, self.size, 5) * np.float32(0.02)
        smear = self.canvas.cover(box(window.x, window.y, half_x, half_y, 0.03) + wave, softness=0.02)
        smear = smear[self.window.rows, self.window.cols]
        self._wrap(total / 6, smear * self.label)
        self.canvas.forget_unchanged()  # paper dragged over paper

    def scratch(self, rng: np.random.Generator) -> None:
        place = self._point(float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.22, 0.82)))
        length, width = float(rng.uniform(0.08, 0.25)), float(rng.uniform(0.004, 0.007))
        steel = (0.66, 0.67, 0.69)
        opacity = float(rng.uniform(0.6, 0.9))
        marks.scratch(self.canvas, rng, place, length, steel, width=width, opacity=opacity, within=self.body)

    def dent(self, rng: np.random.Generator) -> None:
        place = self._point(float(rng.uniform(-0.9, 0.9)), float(rng.uniform(0.2, 0.85)))
        radius, depth = float(rng.uniform(0.045, 0.09)), float(rng.uniform(0.22, 0.4))
        marks.dent(self.canvas, rng, place, radius, depth, within=self.body)

    defects: ClassVar[Defects] = {
        "swapped_print": swapped_print,
        "scratch": scratch,
        "smeared_print": smeared_print,
        "dent": dent,
    }


@lru_cache(maxsize=16)
def _label(design: str, size: int) -> Array:
    """Half the label's circumference laid flat, (rows, columns, 3), drawn twice as fine and reduced."""
    width, height = 2 * size, round(1.5 * size)
    picture = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(picture)

    def at(x: float, y: float) -> tuple[float, float]:
        return x * width, y * height

    def write(x: float, y: float, text: str, tall: float, colour: str) -> None:
        pen.text(at(x, y), text, fill=colour, font=ImageFont.load_default(tall * height), anchor="mm")

    upper, lower = (GOLD, GREEN) if design == "bands" else (GREEN, GOLD)
    pen.rectangle([at(0, 0), at(1, 0.1)], fill=upper)
    pen.rectangle([at(0, 0.115), at(1, 0.135)], fill=lower)
    pen.rectangle([at(0, 0.9), at(1, 1)], fill=upper)
    write(0.5, 0.24, "ORCHARD", 0.13, INK)
    write(0.5, 0.345, "PEAR" if design == "word" else "APPLE", 0.075, RED)
    _fruit(pen, at, pear=design == "fruit")
    write(0.5, 0.74, "SPARKLING", 0.05, GREEN)
    write(0.5, 0.81, "330 ml e", 0.042, INK)
    bars = np.random.default_rng(11).integers(1, 4, 26)
    x = 0.1
    for k, bar in enumerate(bars):
        if k % 2 == 0:
            pen.rectangle([at(x, 0.6), at(x + 0.0032 * bar, 0.72)], fill=INK)
        x += 0.0032 * float(bar)
    for line in range(7):
        y = 0.56 + 0.028 * line
        pen.rectangle([at(0.77, y), at(0.9 - 0.03 * (line % 3), y + 0.009)], fill="#7d7c78")
    small = picture.resize((size, height // 2), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / np.float32(255)


def _fruit(pen: ImageDraw.ImageDraw, at: object, pear: bool) -> None:
    assert callable(at)
    if pear:
        pen.ellipse([at(0.44, 0.52), at(0.56, 0.68)], fill="#9aa83c")
        pen.ellipse([at(0.465, 0.44), at(0.535, 0.58)], fill="#9aa83c")
    else:
        pen.ellipse([at(0.425, 0.47), at(0.52, 0.67)], fill=RED)
        pen.ellipse([at(0.48, 0.47), at(0.575, 0.67)], fill=RED)
    pen.line([at(0.5, 0.49), at(0.515, 0.43)], fill=INK, width=max(2, round(at(0.008, 0)[0])))
    pen.ellipse([at(0.515, 0.425), at(0.57, 0.465)], fill=GREEN)
