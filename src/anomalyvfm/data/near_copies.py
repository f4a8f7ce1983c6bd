"""Good images that show nearly the same picture as one said to be defective: one of both is misplaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data.pixels import plane_of

# Pictures are compared by the means of squares of so many pixels a side: a frame of 512 gives 64 × 64.
_SQUARE = 8
# Grey levels that no square of a near copy differs by: what compression and a camera's noise leave of a mean.
_MOST_LEVELS = 6.0
# A copy differs less from its original than from other images of such parts, by this factor or more: pictures
# of parts in a fixture all differ by less than the levels above. Measured on so many of them.
_SHARE_OF_USUAL = 0.5
_MEASURED = 50

Pixels = NDArray[np.uint8]
_Small = NDArray[np.float32]


class NearCopies:
    """Of a few images, in a model's frame, the good one most like each."""

    def __init__(self) -> None:
        self._small: list[_Small] = []
        self._nearest: list[tuple[float, float, str]] = []
        self._usual: list[list[float]] = []

    def add(self, pixels: Pixels) -> None:
        """One of the few (H, W, 3), whose number is how many came before it."""
        self._small.append(_small(pixels))
        self._nearest.append((np.inf, np.inf, ""))
        self._usual.append([])

    def look(self, name: str, pixels: Pixels) -> None:
        """At a good image (H, W, 3) of the same frame."""
        small = _small(pixels)
        for row, other in enumerate(self._small):
            off = small - other
            differ = float(np.sqrt(np.square(off).mean()))
            self._nearest[row] = min(self._nearest[row], (differ, float(np.abs(off).max()), name))
            if len(self._usual[row]) < _MEASURED:
                self._usual[row].append(differ)

    def merge(self, seen: Mapping[str, Any]) -> None:
        """Add what another with the same images has seen afterwards, as its :meth:`as_dict` has it."""
        for row, (nearest, usual) in enumerate(zip(seen["nearest"], seen["usual"], strict=True)):
            self._usual[row] = [*self._usual[row], *usual][:_MEASURED]
            if usual:  # else it has seen no image
                differ, most, name = nearest
                self._nearest[row] = min(self._nearest[row], (differ, most, name))

    def as_dict(self) -> dict[str, Any]:
        """What it has seen, as plain data."""
        nearest = [one if usual else None for one, usual in zip(self._nearest, self._usual, strict=True)]
        return {"nearest": nearest, "usual": self._usual}

    def found(self) -> dict[int, str]:
        """The name of the good image that each near copy is one of, by its number."""
        return {
            row: name
            for row, ((differ, most, name), usual) in enumerate(zip(self._nearest, self._usual, strict=True))
            if most <= _MOST_LEVELS and differ <= _SHARE_OF_USUAL * np.median(usual)
        }


def _small(pixels: Pixels) -> _Small:
    """Means of squares about their mean: brightness as a whole says nothing."""
    plane = plane_of(pixels)
    grey = plane if plane.ndim == 2 else plane.mean(2, dtype=np.float32)
    rows, columns = (side // _SQUARE for side in grey.shape)
    squares = grey[: rows * _SQUARE, : columns * _SQUARE].reshape(rows, _SQUARE, columns, _SQUARE)
    means = squares.mean((1, 3), dtype=np.float32)
    return np.asarray(means - means.mean(), np.float32)
