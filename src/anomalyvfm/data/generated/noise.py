"""Random textures that do not depend on the number of pixels they are sampled at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from anomalyvfm.data.generated.canvas import Array


def value_noise(rng: np.random.Generator, size: int, cells: float, rows: float | None = None) -> Array:
    """Smooth noise (size, size) of about unit variance with `cells` bumps along a row of pixels.

    `rows` is the number of bumps along a column, the same if not given. Independent normal values on a
    lattice with a random phase, interpolated bicubically.
    """
    rows = cells if rows is None else rows
    lattice = rng.standard_normal((int(rows) + 5, int(cells) + 5), np.float32)
    x, y = rng.uniform(1, 2, 2)
    picture = Image.fromarray(lattice).resize(
        (size, size), Image.Resampling.BICUBIC, box=(x, y, x + cells, y + rows)
    )
    return np.asarray(picture) * np.float32(1.35)


def directional_noise(
    rng: np.random.Generator, size: int, along: float, across: float, angle: float
) -> Array:
    """Streaky noise: `along` bumps a side in the direction of `angle` radians, `across` at right angles.

    As value_noise, with the lattice laid at the angle; one finer than the pixels gives white noise.
    """
    columns, rows = int(along * 1.5) + 6, int(across * 1.5) + 6
    lattice = rng.standard_normal((rows, columns), np.float32)
    phase_x, phase_y = rng.random(2)
    c, s = np.cos(angle), np.sin(angle)
    a, b, d, e = along * c / size, along * s / size, -across * s / size, across * c / size
    # the image's centre falls on the lattice's centre, so any angle stays inside it
    x0 = columns / 2 - (a + b) * size / 2 + phase_x - 0.5
    y0 = rows / 2 - (d + e) * size / 2 + phase_y - 0.5
    picture = Image.fromarray(lattice).transform(
        (size, size), Image.Transform.AFFINE, (a, b, x0, d, e, y0), Image.Resampling.BICUBIC
    )
    return np.asarray(picture) * np.float32(1.35)


def fractal_noise(rng: np.random.Generator, size: int, cells: float, octaves: int = 3) -> Array:
    """Octaves of smooth noise, each twice as fine and half as strong; about unit variance."""
    total = value_noise(rng, size, cells)
    for octave in range(1, octaves):
        total = total + value_noise(rng, size, cells * 2**octave) * np.float32(0.5**octave)
    return total / np.float32(1.15)


def cellular_noise(rng: np.random.Generator, size: int, cells: float, jitter: float) -> tuple[Array, Array]:
    """Distances (size, size) to the nearest and second nearest of scattered points, in cells.

    Worley, "A cellular texture basis function" (1996): one point in each square of a lattice, moved
    from its centre by up to `jitter` / 2 squares, so looking at the nine squares around a pixel suffices.
    """
    count = int(cells) + 4
    points = (0.5 + (rng.random((2, count, count), np.float32) - 0.5) * np.float32(jitter)).astype(np.float32)
    phase = rng.random(2)
    place = (np.arange(size) + 0.5) / size * cells
    py, px = (place + phase[0] + 1).astype(np.float32), (place + phase[1] + 1).astype(np.float32)
    iy, ix = py.astype(np.int64), px.astype(np.int64)
    fy, fx = (py - iy)[:, None], (px - ix)[None, :]
    nearest: Array = np.full((size, size), 9, np.float32)
    second = nearest.copy()
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            square = np.ix_(iy + down, ix + right)
            gap = (points[0][square] + down - fy) ** 2 + (points[1][square] + right - fx) ** 2
            np.minimum(second, np.maximum(nearest, gap), out=second)
            np.minimum(nearest, gap, out=nearest)
    return np.sqrt(nearest), np.sqrt(second)


def scattered(
    rng: np.random.Generator, tries: int, gap: float, margin: float = -0.05, side: float = 1.0
) -> npt.NDArray[np.float64]:
    """Places and directions (n, 3) as x, y, angle in [0, 2 pi), all at least `gap` apart.

    Of `tries` random places in an image of side `side`, `margin` from its border or beyond it, each is
    kept that is far enough from those kept before.
    """
    points = rng.uniform([margin, margin, 0], [side - margin, side - margin, 2 * np.pi], (tries, 3))
    x, y = points[:, 0], points[:, 1]
    close = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2 < gap * gap
    blocked = np.zeros(tries, bool)
    kept = []
    for i in range(tries):
        if not blocked[i]:
            kept.append(i)
            blocked |= close[i]
    return points[kept]
