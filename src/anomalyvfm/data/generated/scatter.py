"""Random places that keep their distance from each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


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
