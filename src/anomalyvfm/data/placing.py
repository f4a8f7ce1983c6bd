"""Images to a model's frame and maps back: the one place where pixels change size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data.pixels import plane_of, thrice
from anomalyvfm.errors import InputError

Aspect = Literal["stretch", "keep"]
Part = tuple[slice, slice]
"""Rows and columns."""

# A part this many times as long as wide would lose too much in a square.
_LONG = 2.0


@dataclass(frozen=True)
class InputFrame:
    """The size in pixels into which a fitted model puts every image.

    `stretch` fills the frame whatever the image's shape; `keep` fits the image inside and repeats its
    border outwards, which gives the backbone no edge to see that the image does not have.
    """

    height: int
    width: int
    aspect: Aspect = "stretch"
    patch: int | None = None
    """Pixels a side of what the backbone tells apart, where maps may be finer; None: as fine as the map."""

    def __post_init__(self) -> None:
        _check_aspect(self.aspect)
        if self.height < 1 or self.width < 1:
            raise InputError(f"frame of {self.height}×{self.width} pixels; both sides must be positive")

    def place(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 → (height, width, 3) uint8, anti-aliased where it shrinks; grey stays one plane."""
        top, left, height, width = self.window((image.shape[0], image.shape[1]))
        resized = given = plane_of(image)
        if image.shape[:2] != (height, width):
            from PIL import Image  # maps are restored without it

            # Pillow widens the bilinear kernel by the shrinkage, so fine texture is averaged, not aliased.
            source = Image.fromarray(np.ascontiguousarray(given))
            resized = np.array(source.resize((width, height), Image.Resampling.BILINEAR), dtype=np.uint8)
        if (height, width) != (self.height, self.width):
            rows = (top, self.height - height - top)
            columns = (left, self.width - width - left)
            resized = np.pad(resized, (rows, columns, (0, 0))[: resized.ndim], mode="edge")
        return resized if resized.ndim == 3 else thrice(resized)

    def restore(
        self, map_: NDArray[np.float32], size: tuple[int, int], part: Part | None = None
    ) -> NDArray[np.float32]:
        """(h, w) over the frame, at any resolution → (H, W) float32 over the image that was placed.

        Bilinear between patch centres, at half-pixel positions; what lies over the border is cut off.
        `size` is the image's (H, W); of its rows and columns only a `part` is given, where that is said.
        """
        rows, columns = self._weights(map_.shape, size)
        if part is not None:
            rows, columns = rows[part[0]], columns[part[1]]
        full: NDArray[np.float32] = rows @ np.asarray(map_, np.float32) @ columns.T
        return full

    def part_above(
        self, map_: NDArray[np.float32], size: tuple[int, int], level: float, margin: tuple[int, int]
    ) -> Part:
        """Rows and columns of an image of `size` that hold all its restored values above `level`.

        With so many pixels more on each side as `margin` says, of height and width, where the image has
        them; slices of nothing where no value of the map is above the level.
        """
        above = map_ > level
        axes = zip(self._weights(map_.shape, size), (above.any(1), above.any(0)), margin, strict=True)
        # A restored value is a mean of the map's: it can be above the level only where one of these is.
        rows, columns = (_around(np.any(weights[:, odd], axis=1), more) for weights, odd, more in axes)
        return rows, columns

    def _weights(
        self, grid: tuple[int, ...], size: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(H, h) and (W, w): of a map's rows and columns in those of an image of ``size``."""
        top, left, height, width = self.window(size)
        down, across = grid[0] / self.height, grid[1] / self.width
        return (
            bilinear(grid[0], size[0], top * down, height * down),
            bilinear(grid[1], size[1], left * across, width * across),
        )

    def to_frame(self, points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
        """(..., 2) positions x, y in an image of ``size`` (H, W), in pixels of the frame."""
        top, left, height, width = self.window(size)
        return points * (width / size[1], height / size[0]) + (left, top)

    def from_frame(self, points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
        """The inverse of :meth:`to_frame`; what lies over the image's border is not cut off."""
        top, left, height, width = self.window(size)
        return (points - (left, top)) / (width / size[1], height / size[0])

    def patch_size(self, grid: tuple[int, ...], size: tuple[int, int]) -> tuple[float, float]:
        """Height and width of a patch, in pixels of an image of ``size``, where the map is (h, w)."""
        _, _, height, width = self.window(size)
        down, across = (
            self.patch or side / n for side, n in zip((self.height, self.width), grid, strict=True)
        )
        return down * size[0] / height, across * size[1] / width

    def window(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Where an image of (H, W) lies in the frame: top, left, height, width."""
        if self.aspect == "stretch":
            return 0, 0, self.height, self.width
        scale = min(self.height / size[0], self.width / size[1])
        height = min(self.height, max(1, round(size[0] * scale)))
        width = min(self.width, max(1, round(size[1] * scale)))
        return (self.height - height) // 2, (self.width - width) // 2, height, width


def _around(wanted: NDArray[np.bool_], margin: int) -> slice:
    """From the first place that is wanted to the last, and so many more on both sides."""
    places = np.flatnonzero(wanted)
    if not len(places):
        return slice(0, 0)
    return slice(max(0, int(places[0]) - margin), min(len(wanted), int(places[-1]) + 1 + margin))


@lru_cache(maxsize=16)  # images of a line are of few sizes
def bilinear(patches: int, points: int, start: float, length: float) -> NDArray[np.float32]:
    """(points, patches) weights of linear interpolation between the centres of ``patches`` of width 1.

    The points are the centres of equal parts of the stretch of ``length`` from ``start`` on. Where they lie
    further apart than patches do, each averages over its part, as Pillow's resizing does.
    """
    step = length / points
    centres = start + step * (np.arange(points) + 0.5)
    away = np.abs(np.arange(patches) + 0.5 - centres[:, None]) / max(step, 1.0)
    hats = np.maximum(1 - away, 0)
    weights: NDArray[np.float32] = (hats / hats.sum(1, keepdims=True)).astype(np.float32)
    weights.setflags(write=False)  # shared by all who ask for it
    return weights


def choose_frame(
    sizes: Iterable[tuple[int, int]],
    image_size: int | tuple[int, int],
    multiple: int,
    aspect: Aspect | Literal["auto"] = "stretch",
) -> InputFrame:
    """The frame for images of the given (height, width) and a backbone whose inputs are multiples.

    `stretch` is a square of `image_size`; `keep` has the images' median aspect ratio and about as many
    pixels as that square; `auto` is `keep` where the ratio is beyond 2:1, else `stretch`. With an
    `image_size` of (width, height) the frame has that. Both sides are rounded to `multiple`. `sizes` is
    looked at for `keep` and `auto` only.
    """
    if isinstance(image_size, tuple):
        width, height = image_size
        return InputFrame(
            _to_multiple(height, multiple),
            _to_multiple(width, multiple),
            "stretch" if aspect == "auto" else aspect,
        )
    if aspect != "auto":
        _check_aspect(aspect)
    if image_size < 1:
        raise InputError(f"image size {image_size}: must be a positive number of pixels")
    ratio = 1.0
    if aspect != "stretch":
        # In logarithms, so that 2:1 and 1:2 are equally far from a square.
        ratios = [math.log(height / width) for height, width in sizes]
        if not ratios and aspect == "keep":
            raise InputError("no image sizes to choose a frame from; give at least one image")
        ratio = math.exp(float(np.median(ratios))) if ratios else 1.0
        if aspect == "auto":
            aspect = "keep" if max(ratio, 1 / ratio) > _LONG else "stretch"
            ratio = ratio if aspect == "keep" else 1.0
    height = _to_multiple(image_size * math.sqrt(ratio), multiple)
    width = _to_multiple(image_size / math.sqrt(ratio), multiple)
    return InputFrame(height, width, aspect)


def _to_multiple(length: float, multiple: int) -> int:
    return max(1, round(length / multiple)) * multiple


def _check_aspect(aspect: str) -> None:
    if aspect not in get_args(Aspect):
        raise InputError(f"aspect '{aspect}' is unknown; use stretch or keep")
