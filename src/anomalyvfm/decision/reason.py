"""Why a region is odd, as plain data: the good patch most like it, and the layers that contribute."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; x1 and y1 lie one past the box."""


@dataclass(frozen=True)
class GoodPatch:
    """A place on a learned image."""

    image: str
    """The image's file, relative to the folder it was learned from."""
    bbox: Box
    """In pixels of that image; it may reach over its border, as the region moved there would."""
    distance: float
    """From the region's peak, 1 between good places drawn at random."""
    size: tuple[int, int]
    """Height and width of that image."""
    picture: NDArray[np.uint8] = field(repr=False, compare=False)
    """(h, w, 3) the whole of that image in the model's frame, as small as the model keeps it."""

    def as_dict(self) -> dict[str, Any]:
        height, width = self.size
        x0, y0, x1, y1 = self.bbox
        inside = [max(0, x0), max(0, y0), min(width, x1), min(height, y1)]
        return {"image": self.image, "bbox": inside, "distance": round(self.distance, 4)}


@dataclass(frozen=True)
class LayerContribution:
    """A backbone layer's part in the patch distance at a region's peak."""

    layer: int
    share: float
    """Of the squared distance; those of all layers sum to 1."""
    sees: str
    """What a layer of that depth mostly responds to."""

    def describe(self) -> str:
        return f"{self.sees} (layer {self.layer}) {self.share:.0%}"


@dataclass(frozen=True)
class Reason:
    nearest: GoodPatch | None
    """None where the model keeps no images."""
    layers: tuple[LayerContribution, ...]
    """The largest share first."""

    def as_dict(self) -> dict[str, Any]:
        """As in a region of ``predictions.jsonl``."""
        return {
            "nearest": None if self.nearest is None else self.nearest.as_dict(),
            "layers": {str(one.layer): round(one.share, 4) for one in self.layers},
        }
