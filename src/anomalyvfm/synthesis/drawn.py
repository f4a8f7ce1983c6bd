"""Drawn defects of many kinds, sizes and contrasts: what experts are compared on before any real defect.

Unlike the three stages that adapters are trained against, these span what defects are like: from a speck to
a quarter of the image, from hardly visible to glaring, with soft and with sharp edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from anomalyvfm.synthesis.patch import Image8, Mask, changed, check_image

Values = NDArray[np.floating[Any]]

SIZES = (0.03, 0.25)
"""Smallest and largest diameter, as a share of the image's side; drawn evenly in the logarithm."""
CONTRASTS = (0.3, 2.0)
"""Of what differs in brightness, in standard deviations of the image's own grey levels; drawn likewise."""

# An image without contrast of its own still shows a defect of so many grey levels.
_LEAST_SPREAD = 8.0
# Channels that differ by less than so many grey levels on average are those of a grey image.
_GREY = 2.0
# Sizes of details are given in pixels of an image with this side.
_REFERENCE = 256


def drawn_defect(image: Image8, other: Image8, kind: str, rng: np.random.Generator) -> tuple[Image8, Mask]:
    """A copy of (H, W, 3) with one defect of a kind of `KINDS`, and its mask (H, W).

    ``other`` is another good image, of any size, that a piece may come from.
    """
    check_image(image)
    defect = _Defect(image, other, rng)
    values = np.clip(KINDS[kind](defect), 0, 255).astype(np.uint8)
    return values, changed(image, values)


class _Defect:
    """Where a defect is to be drawn, how large and how strong."""

    def __init__(self, image: Image8, other: Image8, rng: np.random.Generator) -> None:
        self.image: Values = image.astype(np.float32)
        self.other = other
        self.rng = rng
        self.height, self.width = image.shape[:2]
        side = math.sqrt(self.height * self.width)
        self.pixel = side / _REFERENCE
        self.radius = max(1.5, _between(SIZES, rng) * side / 2)
        self.centre = (rng.uniform(0.1, 0.9) * self.height, rng.uniform(0.1, 0.9) * self.width)
        spread = max(float(self.image.std()), _LEAST_SPREAD)
        grey = float(self.image.std(axis=2).mean()) < _GREY
        tint = rng.choice([-1.0, 1.0]) + 0.3 * rng.normal(size=3) * (not grey)
        self.shade: Values = (_between(CONTRASTS, rng) * spread * tint / np.abs(tint).mean()).astype(
            np.float32
        )

    def blob(self, size: float = 1.0, softness: float = 0.15) -> Values:
        """(H, W, 1) opacity of an irregular shape; ``softness`` is its edge's width, in radii."""
        y, x = np.mgrid[: self.height, : self.width].astype(np.float32)
        y, x = y - self.centre[0], x - self.centre[1]
        stretch, turn = math.exp(self.rng.uniform(-0.5, 0.5)), self.rng.uniform(0, math.pi)
        along = (x * math.cos(turn) + y * math.sin(turn)) / (size * self.radius * stretch)
        across = (y * math.cos(turn) - x * math.sin(turn)) / (size * self.radius / stretch)
        angle, distance = np.arctan2(across, along), np.hypot(along, across)
        edge = 1 + sum(
            0.17 / waves * self.rng.normal() * np.cos(waves * angle + self.rng.uniform(0, 2 * math.pi))
            for waves in (2, 3, 4, 5)
        )
        opacity: Values = np.clip((edge - distance) / softness + 0.5, 0, 1).astype(np.float32)
        return opacity[..., None]


def _spot(defect: _Defect) -> Values:
    return defect.image + defect.blob() * defect.shade


def _stain(defect: _Defect) -> Values:
    """Larger, paler, and without an edge."""
    return defect.image + defect.blob(size=1.5, softness=1.0) * defect.shade / 2


def _scratch(defect: _Defect) -> Values:
    """A bent line, twice as long as other defects are wide."""
    rng, points = defect.rng, 24
    turn = rng.uniform(0, 2 * math.pi) + 0.6 * rng.normal() * np.linspace(-0.5, 0.5, points)
    step = 4 * defect.radius / points
    y = 2 * (defect.centre[0] + step * np.cumsum(np.sin(turn)))
    x = 2 * (defect.centre[1] + step * np.cumsum(np.cos(turn)))
    # Drawn at twice the size, for Pillow's lines have no soft edge.
    canvas = Image.new("L", (2 * defect.width, 2 * defect.height))
    width = max(2, round(2 * defect.pixel * rng.uniform(1, 3)))
    ImageDraw.Draw(canvas).line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=255, width=width)
    line = canvas.resize((defect.width, defect.height), Image.Resampling.BOX)
    return defect.image + np.asarray(line, np.float32)[..., None] / 255 * defect.shade


def _paste(defect: _Defect) -> Values:
    """A piece of another place, of this image or of another."""
    piece = defect.image
    if defect.rng.random() < 0.5:
        other = Image.fromarray(defect.other).resize((defect.width, defect.height))
        piece = np.asarray(other, np.float32)
    down = round(defect.rng.uniform(-0.5, 0.5) * defect.height)
    right = round(defect.rng.uniform(-0.5, 0.5) * defect.width)
    return _blend(defect.image, np.roll(piece, (down, right), (0, 1)), defect.blob())


def _blur(defect: _Defect) -> Values:
    reach = defect.pixel * _between((1, 4), defect.rng)
    return _blend(defect.image, ndimage.gaussian_filter(defect.image, (reach, reach, 0)), defect.blob())


def _missing(defect: _Defect) -> Values:
    """What lies around it continues where the part should be."""
    shape = defect.blob()
    around = np.clip(defect.blob(size=1.5) - shape, 0, 1)
    colour = (defect.image * around).sum((0, 1)) / max(float(around.sum()), 1e-3)
    return _blend(defect.image, colour, shape)


def _grain(defect: _Defect) -> Values:
    """A rough place."""
    fineness = defect.pixel * defect.rng.uniform(0.5, 2)
    noise = ndimage.gaussian_filter(defect.rng.normal(size=(defect.height, defect.width)), fineness)
    rough = (noise / noise.std())[..., None] * np.abs(defect.shade)
    grained: Values = defect.image + defect.blob() * rough.astype(np.float32)
    return grained


def _twist(defect: _Defect) -> Values:
    """What is there, turned a little."""
    turn = defect.rng.choice([-1, 1]) * defect.rng.uniform(0.2, 0.8) * defect.blob(softness=0.6)[..., 0]
    y, x = np.mgrid[: defect.height, : defect.width].astype(np.float32)
    y, x = y - defect.centre[0], x - defect.centre[1]
    rows = defect.centre[0] + np.cos(turn) * y - np.sin(turn) * x
    columns = defect.centre[1] + np.sin(turn) * y + np.cos(turn) * x
    channels = [
        ndimage.map_coordinates(channel, [rows, columns], order=1, mode="nearest")
        for channel in np.moveaxis(defect.image, 2, 0)
    ]
    twisted: Values = np.stack(channels, axis=2)
    return twisted


KINDS: Mapping[str, Callable[[_Defect], Any]] = {
    "spot": _spot,
    "scratch": _scratch,
    "paste": _paste,
    "blur": _blur,
    "missing": _missing,
    "stain": _stain,
    "twist": _twist,
    "grain": _grain,
}


def _between(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    """Drawn evenly in the logarithm."""
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))


def _blend(image: Values, onto: Any, opacity: Values) -> Values:
    blended: Values = image + opacity * (onto - image)
    return blended
