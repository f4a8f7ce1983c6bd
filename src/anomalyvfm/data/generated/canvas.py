"""A picture that remembers where it was painted on.

Lengths and places are in units of the image side, unless a scene asks for others, x to the right and y
down, so that a scene looks the same at every size. Goods and defects are painted with the same brush;
after `start_recording`, `touched` holds how much of each pixel was painted since, and that is the
defect's mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]  # float32 throughout: half the memory traffic of float64
Colour = Sequence[float] | Array


@dataclass(frozen=True)
class Window:
    """The part of a canvas near a place; x (1, w) and y (h, 1) are offsets from that place."""

    rows: slice
    cols: slice
    x: Array
    y: Array

    def turned(self, angle: float) -> tuple[Array, Array]:
        """Offsets (h, w) along and across a direction of `angle` radians."""
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        return c * self.x + s * self.y, c * self.y - s * self.x


class Canvas:
    """RGB (S, S, 3) in display values 0 to 1, before light, lens and sensor.

    `side` is how long the image's side is in the scene's units: less than 1 shows the scene larger.
    """

    def __init__(self, rgb: Array, side: float = 1.0) -> None:
        self.rgb = rgb
        self.size = rgb.shape[0]
        self.side = side
        self._places: Array = ((np.arange(self.size) + 0.5) * self.pixel).astype(np.float32)
        self._before = rgb
        self.touched: Array = np.zeros(rgb.shape[:2], np.float32)

    def start_recording(self) -> None:
        """Everything painted from here on is the defect."""
        self.touched[:] = 0
        self._before = self.rgb.copy()

    def forget_unchanged(self) -> None:
        """Take out of `touched` what was painted over with what was there already, to 2 grey levels."""
        change = np.abs(self.rgb - self._before).max(axis=2)
        np.minimum(self.touched, clamp(change * 12), out=self.touched)

    @property
    def pixel(self) -> float:
        """Side of a pixel in the scene's units."""
        return self.side / float(self.size)

    def near(self, x: float, y: float, reach: float) -> Window:
        """The window of half side `reach` around a place, cut at the image's border."""
        rows, cols = self._span(y, reach), self._span(x, reach)
        return Window(
            rows, cols, self._places[None, cols] - np.float32(x), self._places[rows, None] - np.float32(y)
        )

    def _span(self, centre: float, reach: float) -> slice:
        low = min(max(int((centre - reach) / self.pixel), 0), self.size)
        return slice(low, max(low, min(int((centre + reach) / self.pixel) + 1, self.size)))

    def everywhere(self) -> Window:
        """The whole image, offsets counted from its centre."""
        return self.near(self.side / 2, self.side / 2, self.side)

    def cover(self, distance: Array, softness: float = 0.0) -> Array:
        """Share of each pixel inside a shape, from the signed distance to its outline (negative inside)."""
        return clamp(np.float32(0.5) - distance * np.float32(1 / (self.pixel + softness)))

    def paint(self, window: Window, colour: Colour, cover: Array, opacity: float = 1.0) -> None:
        """Lay a colour (3,) or colours (h, w, 3) over the pixels, `cover` (h, w) of each."""
        part = self.rgb[window.rows, window.cols]
        part += (cover * np.float32(opacity))[..., None] * (np.asarray(colour, np.float32) - part)
        self._touch(window, cover)

    def tint(self, window: Window, gain: Colour, cover: Array) -> None:
        """Multiply by gains (3,) or (h, w, 3) or (h, w, 1), as inks, shadows and highlights do."""
        part = self.rgb[window.rows, window.cols]
        part *= 1 + cover[..., None] * (np.asarray(gain, np.float32) - 1)
        self._touch(window, cover)

    def _touch(self, window: Window, cover: Array) -> None:
        part = self.touched[window.rows, window.cols]
        np.maximum(part, cover, out=part)


def clamp(values: Array, low: float = 0.0, high: float = 1.0) -> Array:
    """np.clip without its overhead, which small windows would mostly consist of."""
    return np.minimum(np.maximum(values, np.float32(low)), np.float32(high))


def length(x: Array, y: Array) -> Array:
    """np.hypot for values that cannot overflow, several times as fast."""
    return np.sqrt(x * x + y * y)


def circle(x: Array, y: Array, radius: float) -> Array:
    """Signed distance to a circle around the origin."""
    return length(x, y) - np.float32(radius)


def ellipse(x: Array, y: Array, a: float, b: float) -> Array:
    """About the signed distance to an ellipse: exact on the outline, right in scale near it."""
    u, v = x * np.float32(1 / a), y * np.float32(1 / b)
    k = length(u, v)
    steepness = length(u * np.float32(1 / a), v * np.float32(1 / b))
    return (k - 1) * k / np.maximum(steepness, np.float32(1e-3 / max(a, b)))


def box(x: Array, y: Array, half_x: float, half_y: float, corner: float = 0.0) -> Array:
    """Signed distance to a rectangle around the origin with rounded corners."""
    qx = np.abs(x) - np.float32(half_x - corner)
    qy = np.abs(y) - np.float32(half_y - corner)
    outside = length(np.maximum(qx, 0), np.maximum(qy, 0))
    return outside + np.minimum(np.maximum(qx, qy), 0) - np.float32(corner)


def segment(x: Array, y: Array, start: Sequence[float], end: Sequence[float]) -> Array:
    """Distance to a straight line from `start` to `end`."""
    dx, dy = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
    from_x, from_y = x - np.float32(start[0]), y - np.float32(start[1])
    along = clamp((from_x * dx + from_y * dy) / max(dx * dx + dy * dy, np.float32(1e-12)))
    return length(from_x - along * dx, from_y - along * dy)


Defects = Mapping[str, Callable[[Any, np.random.Generator], None]]
"""Kinds of defect and the methods that paint them."""


class Scene:
    """One product. The constructor paints a good one; each entry of `defects` then paints damage on it.

    Subclasses set `canvas` in `__init__(size, rng)`. What they draw from `rng` must not depend on `size`.
    """

    defects: ClassVar[Defects]
    canvas: Canvas

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        raise NotImplementedError
