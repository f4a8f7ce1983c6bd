"""A circuit board: components of a fixed vocabulary, anywhere on the board, in any of four directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image, ImageDraw

from anomalyvfm.data.generated import marks
from anomalyvfm.data.generated.canvas import Array, Canvas, Defects, Scene, box, circle, length
from anomalyvfm.data.generated.noise import value_noise

SIDE = 0.68  # of the image, in the units of the lengths below
SOLDER = np.array([0.74, 0.75, 0.76], np.float32)
VOCABULARY = {  # half sizes along and across, with pads; how many a board holds
    "chip": (0.105, 0.068, 2),
    "electrolytic": (0.052, 0.052, 2),
    "diode": (0.052, 0.024, 3),
    "capacitor": (0.036, 0.02, 5),
    "resistor": (0.034, 0.018, 6),
}


@dataclass(frozen=True)
class Component:
    kind: str
    x: float
    y: float
    turn: float  # radians, a multiple of a right angle when placed well


class CircuitBoard(Scene):
    def __init__(self, size: int, rng: np.random.Generator) -> None:
        board_angle = float(rng.normal(0, 0.008))
        self.components = _place(rng, board_angle)
        weave = value_noise(rng, size, 120) * np.float32(0.012) + value_noise(rng, size, 3) * np.float32(
            0.012
        )
        mask = np.array([0.075, 0.30, 0.19], np.float32) * float(rng.normal(1, 0.015))
        copper, vias = _traces(rng, size)
        surface = mask + copper[..., None] * np.array([0.06, 0.125, 0.05], np.float32)
        self.canvas = Canvas(surface * (1 + 2 * weave[..., None]), SIDE)
        for x, y in vias:
            self._via(x, y)
        self.bare: Array = self.canvas.rgb.copy()
        for component in self.components:
            self._solder(component)
            self._body(component)

    def _via(self, x: float, y: float) -> None:
        window = self.canvas.near(x, y, 0.015)
        self.canvas.paint(window, (0.66, 0.6, 0.42), self.canvas.cover(circle(window.x, window.y, 0.0085)))
        self.canvas.paint(window, (0.05, 0.06, 0.05), self.canvas.cover(circle(window.x, window.y, 0.0042)))

    def _solder(self, part: Component, gleam: float = 0.16) -> None:
        """The pads of a component with their solder."""
        for x, y, a, b in _pads(part.kind):
            c, s = np.cos(part.turn), np.sin(part.turn)
            window = self.canvas.near(part.x + c * x - s * y, part.y + s * x + c * y, 1.5 * max(a, b))
            along, across = window.turned(part.turn)
            distance = box(along, across, a, b, 0.3 * min(a, b))
            rise = np.clip(-distance / np.float32(min(a, b)), 0, 1)
            light = (
                1 - np.float32(gleam) * (window.x + window.y) / np.float32(a + b) - np.float32(0.12) * rise
            )
            self.canvas.paint(window, light[..., None] * SOLDER, self.canvas.cover(distance))

    def _block(
        self, part: Component, x: float, a: float, b: float, colour: tuple[float, float, float], corner: float
    ) -> None:
        """A box of half sides a and b at x along the component, with a bright upper left edge."""
        cx, cy = part.x + np.cos(part.turn) * x, part.y + np.sin(part.turn) * x
        window = self.canvas.near(cx, cy, 1.45 * max(a, b) + 0.003)
        along, across = window.turned(part.turn)
        distance = box(along, across, a, b, corner)
        edge = np.exp(-(((distance + np.float32(0.003)) / np.float32(0.0022)) ** 2))
        reach = np.maximum(length(window.x, window.y), np.float32(1e-4))
        light = 1 - np.float32(0.35) * edge * (window.x + window.y) / reach
        tone = light[..., None] * np.asarray(colour, np.float32)
        self.canvas.paint(window, tone, self.canvas.cover(distance))

    def _body(self, part: Component) -> None:
        half_x, half_y, _ = VOCABULARY[part.kind]
        shadow = self.canvas.near(part.x + 0.004, part.y + 0.006, 1.45 * half_x)
        along, across = shadow.turned(part.turn)
        inner_x = half_x * (0.66 if part.kind != "chip" else 0.98)
        outline = box(along, across, inner_x, half_y * (0.95 if part.kind != "chip" else 0.7), 0.004)
        self.canvas.tint(shadow, (0.5, 0.5, 0.5), self.canvas.cover(outline, softness=0.009))
        if part.kind == "chip":
            self._block(part, 0.0, 0.098, 0.044, (0.15, 0.15, 0.16), 0.004)
            self._dot(part, -0.082, 0.026, 0.006, (0.3, 0.3, 0.31))
            for row, span in ((-0.012, 0.056), (0.008, 0.04)):
                self._bar(part, row, span)
        elif part.kind == "electrolytic":
            self._can(part)
        elif part.kind == "diode":
            self._block(part, 0.0, 0.036, 0.021, (0.17, 0.165, 0.16), 0.004)
            self._block(part, -0.024, 0.004, 0.02, (0.62, 0.61, 0.58), 0.001)
        elif part.kind == "capacitor":
            self._block(part, 0.0, 0.03, 0.018, (0.7, 0.71, 0.72), 0.003)
            self._block(part, 0.0, 0.018, 0.018, (0.60, 0.46, 0.31), 0.001)
        else:
            self._block(part, 0.0, 0.028, 0.015, (0.74, 0.75, 0.76), 0.002)
            self._block(part, 0.0, 0.019, 0.015, (0.12, 0.12, 0.14), 0.001)
            self._block(part, 0.0, 0.009, 0.0035, (0.62, 0.62, 0.62), 0.001)

    def _dot(
        self, part: Component, x: float, y: float, radius: float, colour: tuple[float, float, float]
    ) -> None:
        c, s = np.cos(part.turn), np.sin(part.turn)
        window = self.canvas.near(part.x + c * x - s * y, part.y + s * x + c * y, 1.3 * radius)
        self.canvas.paint(window, colour, self.canvas.cover(circle(window.x, window.y, radius)))

    def _bar(self, part: Component, row: float, span: float) -> None:
        """A line of laser-marked type, too small to read: dashes of equal height."""
        window = self.canvas.near(part.x, part.y, 0.1)
        along, across = window.turned(part.turn)
        strip = box(along, across - np.float32(row), span, 0.0055)
        letters = np.clip(np.sin(along * np.float32(620)) + np.sin(along * np.float32(271)) + 0.6, 0, 1)
        self.canvas.paint(window, (0.5, 0.5, 0.5), self.canvas.cover(strip) * letters, 0.6)

    def _can(self, part: Component) -> None:
        window = self.canvas.near(part.x, part.y, 0.055)
        distance = circle(window.x, window.y, 0.043)
        along, _ = window.turned(part.turn)
        side = (window.x + window.y) / np.float32(0.06)
        rim = np.exp(-(((distance + np.float32(0.005)) / np.float32(0.004)) ** 2))
        tone = np.float32(0.66) - np.float32(0.06) * side - np.float32(0.22) * rim * side
        colour = tone[..., None] * np.array([0.98, 1, 1.02], np.float32)
        self.canvas.paint(window, np.clip(colour, 0, 1), self.canvas.cover(distance))
        stripe = np.maximum(distance + np.float32(0.008), np.float32(0.016) - along)
        self.canvas.paint(window, (0.16, 0.16, 0.18), self.canvas.cover(stripe))

    def _pick(self, rng: np.random.Generator, *kinds: str) -> Component:
        """A component of one of the kinds that lies wholly in view."""
        choice = [
            p
            for p in self.components
            if p.kind in kinds and max(abs(p.x - SIDE / 2), abs(p.y - SIDE / 2)) < 0.4 * SIDE
        ]
        return (
            choice[int(rng.integers(len(choice)))] if choice else Component(kinds[0], SIDE / 2, SIDE / 2, 0.0)
        )

    def _remove(self, part: Component) -> None:
        half_x, half_y, _ = VOCABULARY[part.kind]
        window = self.canvas.near(part.x + 0.003, part.y + 0.004, 1.45 * half_x + 0.02)
        along, across = window.turned(part.turn)
        cover = self.canvas.cover(box(along, across, half_x + 0.009, half_y + 0.01, 0.004))
        self.canvas.paint(window, self.bare[window.rows, window.cols], cover)

    def missing_component(self, rng: np.random.Generator) -> None:
        """Pads and solder, and nothing on them."""
        part = self._pick(rng, "resistor", "capacitor", "diode")
        self._remove(part)
        self._solder(part)
        self.canvas.forget_unchanged()

    def skewed_component(self, rng: np.random.Generator) -> None:
        """Swam away in the solder: turned and shifted on its pads."""
        part = self._pick(rng, "resistor", "capacitor", "diode")
        self._remove(part)
        self._solder(part)
        turn = part.turn + float(rng.choice([-1, 1]) * rng.uniform(0.3, 0.7))
        dx, dy = rng.normal(0, 0.004, 2)
        self._body(Component(part.kind, part.x + float(dx), part.y + float(dy), turn))
        self.canvas.forget_unchanged()

    def solder_bridge(self, rng: np.random.Generator) -> None:
        """Solder that joins two neighbouring pins of a chip."""
        part = self._pick(rng, "chip")
        pads = _pads("chip")
        pin = int(rng.choice([0, 1, 2, 4, 5, 6]))
        x, y = (pads[pin][0] + pads[pin + 1][0]) / 2, pads[pin][1]
        c, s = np.cos(part.turn), np.sin(part.turn)
        half = float(rng.uniform(0.008, 0.013))
        window = self.canvas.near(part.x + c * x - s * y, part.y + s * x + c * y, 0.05)
        along, across = window.turned(part.turn)
        waist = np.float32(0.25) * np.cos(along * np.float32(np.pi / 0.05))
        distance = box(along, across * (1 + waist), 0.023, half, 0.6 * half)
        light = np.float32(1.02) - np.float32(0.2) * (window.x + window.y) / np.float32(0.04)
        self.canvas.paint(window, np.clip(light[..., None] * SOLDER, 0, 1), self.canvas.cover(distance))

    def scratch(self, rng: np.random.Generator) -> None:
        """Through the green mask down to the copper."""
        length, width = float(rng.uniform(0.1, 0.28)), float(rng.uniform(0.003, 0.006))
        opacity = float(rng.uniform(0.45, 0.8))
        marks.scratch(
            self.canvas,
            rng,
            marks.spot(rng, 0.1, SIDE),
            length,
            (0.62, 0.52, 0.36),
            width=width,
            opacity=opacity,
        )

    defects: ClassVar[Defects] = {
        "missing_component": missing_component,
        "solder_bridge": solder_bridge,
        "scratch": scratch,
        "skewed_component": skewed_component,
    }


def _pads(kind: str) -> list[tuple[float, float, float, float]]:
    """Pads of a component: x, y, half sides."""
    if kind == "chip":
        return [((pin - 1.5) * 0.05, side * 0.054, 0.0095, 0.014) for side in (-1, 1) for pin in range(4)]
    if kind == "electrolytic":
        return [(-0.046, 0.0, 0.01, 0.012), (0.046, 0.0, 0.01, 0.012)]
    half_x, half_y, _ = VOCABULARY[kind]
    return [(side * half_x * 0.82, 0.0, half_x * 0.3, half_y) for side in (-1, 1)]


def _place(rng: np.random.Generator, tilt: float) -> list[Component]:
    """Components that do not overlap, big ones first; the first chip lies wholly in view."""
    placed: list[tuple[Component, float, float]] = []
    for kind, (half_x, half_y, count) in VOCABULARY.items():
        number = 0
        margin = 0.12 if kind == "chip" else 0.02
        for x, y, quarter in rng.uniform([margin, margin, 0], [SIDE - margin, SIDE - margin, 4], (60, 3)):
            upright = int(quarter) % 2 == 1
            a, b = (half_y, half_x) if upright else (half_x, half_y)
            if number == count:
                break
            if all(abs(x - q.x) > a + qa + 0.014 or abs(y - q.y) > b + qb + 0.014 for q, qa, qb in placed):
                placed.append((Component(kind, float(x), float(y), int(quarter) * np.pi / 2 + tilt), a, b))
                number += 1
    return [component for component, _, _ in placed]


def _traces(rng: np.random.Generator, size: int) -> tuple[Array, list[tuple[float, float]]]:
    """Copper (size, size) under the mask, 0 to 1, and the vias where traces end."""
    fine = 2 * size
    dots = fine / SIDE  # per unit
    picture = Image.new("L", (fine, fine))
    pen = ImageDraw.Draw(picture)
    vias: list[tuple[float, float]] = []
    for _ in range(15):
        place = rng.uniform(0, SIDE, 2)
        quarter = int(rng.integers(4))
        wide = max(1, round(dots * (0.016 if rng.random() < 0.2 else 0.007)))
        corners = [place]
        for leg in range(3):
            # straight, diagonal, straight: traces never turn sharper than 45 degrees
            heading = quarter * np.pi / 2 + (np.pi / 4 if leg == 1 else 0.0)
            length = rng.uniform(0.04, 0.12) if leg == 1 else rng.uniform(0.08, 0.3)
            corners.append(corners[-1] + length * np.array([np.cos(heading), np.sin(heading)]))
        pen.line(
            [(float(p[0] * dots), float(p[1] * dots)) for p in corners], fill=255, width=wide, joint="curve"
        )
        vias += [(float(p[0]), float(p[1])) for p in (corners[0], corners[-1])]
    copper = np.asarray(picture.resize((size, size), Image.Resampling.BOX), np.float32) / np.float32(255)
    return copper, vias
