"""Damage that can befall any surface: scratches, stains, dents."""

from __future__ import annotations

import numpy as np

from anomalyvfm.data.generated.canvas import Array, Canvas, Colour, circle, segment
from anomalyvfm.data.generated.noise import fractal_noise

Place = tuple[float, float]


def spot(rng: np.random.Generator, margin: float = 0.15, side: float = 1.0) -> Place:
    """A random place in an image of that side, at least `margin` from its border."""
    x, y = rng.uniform(margin, side - margin, 2)
    return float(x), float(y)


def scratch(
    canvas: Canvas,
    rng: np.random.Generator,
    place: Place,
    length: float,
    colour: Colour,
    *,
    angle: float | None = None,
    width: float = 0.005,
    opacity: float = 0.7,
    within: Array | None = None,
) -> None:
    """A thin, slightly bent scratch through a place, fading at its ends; only inside `within` (S, S)."""
    angle = float(rng.uniform(0, np.pi)) if angle is None else angle
    bend = float(rng.normal(0, 0.12)) * length
    width = max(width, 1.1 * canvas.pixel)
    window = canvas.near(*place, length / 2 + abs(bend) + 2 * width)
    along, across = window.turned(angle)
    knots = np.linspace(-0.5, 0.5, 7)
    wobble = rng.normal(0, 0.012 * length, 7)
    offsets = bend * (1 - (2 * knots) ** 2) - bend / 2 + wobble
    gap: Array = np.full(along.shape, 9, np.float32)
    for k in range(6):
        start, end = (knots[k] * length, offsets[k]), (knots[k + 1] * length, offsets[k + 1])
        gap = np.minimum(gap, segment(along, across, start, end))
    depth = np.clip(1.25 - np.abs(along / np.float32(length / 2)) ** 3, 0.45, 1)
    cover = canvas.cover(gap - np.float32(width / 2), softness=0.3 * width) * depth
    if within is not None:
        cover = cover * within[window.rows, window.cols]
    canvas.paint(window, colour, cover, opacity)


def stain(
    canvas: Canvas,
    rng: np.random.Generator,
    place: Place,
    radius: float,
    gain: Colour,
    *,
    within: Array | None = None,
) -> None:
    """A blotch with a ragged, soft outline that multiplies what lies under it."""
    window = canvas.near(*place, 2 * radius)
    ragged = fractal_noise(rng, 64, 3.0)  # of its own resolution: stains are soft
    cover = _outline(canvas, ragged, window.x, window.y, radius)
    if within is not None:
        cover = cover * within[window.rows, window.cols]
    canvas.tint(window, gain, cover)


def _outline(canvas: Canvas, ragged: Array, x: Array, y: Array, radius: float) -> Array:
    column = np.clip((x / np.float32(4 * radius) + 0.5) * 63, 0, 63).astype(np.int64)
    row = np.clip((y / np.float32(4 * radius) + 0.5) * 63, 0, 63).astype(np.int64)
    distance = circle(x, y, radius) + ragged[row, column] * np.float32(0.28 * radius)
    return canvas.cover(distance, softness=0.35 * radius)


def dent(
    canvas: Canvas,
    rng: np.random.Generator,
    place: Place,
    radius: float,
    depth: float,
    *,
    within: Array | None = None,
) -> None:
    """A smooth hollow: dark on the side toward the lamp (upper left), bright on the other."""
    window = canvas.near(*place, 1.6 * radius)
    along, across = window.turned(float(rng.uniform(0, np.pi)))
    squared = (along / np.float32(radius)) ** 2 + (across / np.float32(radius * rng.uniform(0.6, 0.9))) ** 2
    bowl = np.exp(-2.5 * squared)
    slope = (window.x + window.y) / np.float32(radius)
    gain = np.float32(depth) * bowl * (slope * np.float32(1.6) - np.float32(0.35))
    cover = np.clip(bowl * np.float32(1.6) - np.float32(0.1), 0, 1)
    if within is not None:
        cover = cover * within[window.rows, window.cols]
    canvas.tint(window, (1 + gain)[..., None], cover)
