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

from anomalyvfm.synthesis.patch import Image8, check_image

Values = NDArray[np.floating[Any]]
Box = tuple[slice, slice]
Drawn = tuple[Box, Values]
"""What of the image is drawn anew, and (h, w, 3) the values there."""

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


def drawn_defect(image: Image8, other: Image8, kind: str, rng: np.random.Generator) -> Image8:
    """A copy of (H, W, 3) with one defect of a kind of `KINDS`.

    ``other`` is another good image, of any size, that a piece may come from.
    """
    check_image(image)
    box, values = KINDS[kind](_Defect(image, other, rng))
    defective = image.copy()
    defective[box] = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return defective


class _Defect:
    """Where a defect is to be drawn, how large and how strong."""

    def __init__(self, image: Image8, other: Image8, rng: np.random.Generator) -> None:
        self.image = image
        self.other = other
        self.rng = rng
        self.height, self.width = image.shape[:2]
        side = math.sqrt(self.height * self.width)
        self.pixel = side / _REFERENCE
        self.radius = max(1.5, _between(SIZES, rng) * side / 2)
        self.centre = (rng.uniform(0.1, 0.9) * self.height, rng.uniform(0.1, 0.9) * self.width)
        channels = np.moveaxis(image, 2, 0).astype(np.float32, order="C")
        spread = max(float(channels.std()), _LEAST_SPREAD)
        grey = float(channels.std(axis=0).mean()) < _GREY
        tint = rng.choice([-1.0, 1.0]) + 0.3 * rng.normal(size=3) * (not grey)
        self.shade: Values = (_between(CONTRASTS, rng) * spread * tint / np.abs(tint).mean()).astype(
            np.float32
        )

    def box(self, *reaches: float) -> Box:
        """What of the image is no farther from the defect's centre than the largest of these."""
        (y, x), reach = self.centre, math.ceil(max(reaches))
        return self.box_of(y - reach, y + reach + 1, x - reach, x + reach + 1)

    def box_of(self, top: float, bottom: float, left: float, right: float) -> Box:
        """What of the image lies there."""
        return (
            slice(max(0, math.floor(top)), min(self.height, math.ceil(bottom))),
            slice(max(0, math.floor(left)), min(self.width, math.ceil(right))),
        )

    def values(self, box: Box) -> Values:
        """(h, w, 3) of the image."""
        return self.image[box].astype(np.float32)

    def places(self, box: Box) -> tuple[Values, Values]:
        """(h, w) each: how far the pixels lie below the defect's centre, and how far right of it."""
        rows, columns = box
        y, x = np.mgrid[rows, columns].astype(np.float32)
        return y - self.centre[0], x - self.centre[1]


class _Shape:
    """An irregular shape around a defect's centre; ``softness`` is its edge's width, in radii."""

    def __init__(self, defect: _Defect, size: float = 1.0, softness: float = 0.15) -> None:
        rng = defect.rng
        self._defect, self._softness = defect, softness
        self._stretch, self._turn = math.exp(rng.uniform(-0.5, 0.5)), rng.uniform(0, math.pi)
        self._radius = size * defect.radius
        self._waves = [
            (waves, 0.17 / waves * rng.normal(), rng.uniform(0, 2 * math.pi)) for waves in (2, 3, 4, 5)
        ]
        longest = max(self._stretch, 1 / self._stretch) * self._radius
        self.reach = longest * (1 + sum(abs(height) for _, height, _ in self._waves) + softness / 2)

    def opacity(self, box: Box) -> Values:
        """(h, w, 1); 0 beyond the shape's ``reach``."""
        y, x = self._defect.places(box)
        cosine, sine = math.cos(self._turn), math.sin(self._turn)
        along = (x * cosine + y * sine) / (self._radius * self._stretch)
        across = (y * cosine - x * sine) / (self._radius / self._stretch)
        angle, distance = np.arctan2(across, along), np.hypot(along, across)
        edge = 1 + sum(height * np.cos(waves * angle + start) for waves, height, start in self._waves)
        opacity: Values = np.clip((edge - distance) / self._softness + 0.5, 0, 1).astype(np.float32)
        return opacity[..., None]


def _spot(defect: _Defect) -> Drawn:
    shape = _Shape(defect)
    box = defect.box(shape.reach)
    return box, defect.values(box) + shape.opacity(box) * defect.shade


def _stain(defect: _Defect) -> Drawn:
    """Larger, paler, and without an edge."""
    shape = _Shape(defect, size=1.5, softness=1.0)
    box = defect.box(shape.reach)
    return box, defect.values(box) + shape.opacity(box) * defect.shade / 2


def _scratch(defect: _Defect) -> Drawn:
    """A bent line, twice as long as other defects are wide."""
    rng, points = defect.rng, 24
    turn = rng.uniform(0, 2 * math.pi) + 0.6 * rng.normal() * np.linspace(-0.5, 0.5, points)
    step = 4 * defect.radius / points
    y = defect.centre[0] + step * np.cumsum(np.sin(turn))
    x = defect.centre[1] + step * np.cumsum(np.cos(turn))
    # Drawn at twice the size, for Pillow's lines have no soft edge.
    width = max(2, round(2 * defect.pixel * rng.uniform(1, 3)))
    box = defect.box_of(y.min() - width, y.max() + width + 1, x.min() - width, x.max() + width + 1)
    values = defect.values(box)
    height, across = values.shape[:2]
    canvas = Image.new("L", (2 * across, 2 * height))
    line = zip((2 * (x - box[1].start)).tolist(), (2 * (y - box[0].start)).tolist(), strict=True)
    ImageDraw.Draw(canvas).line(list(line), fill=255, width=width)
    drawn = canvas.resize((across, height), Image.Resampling.BOX)
    return box, values + np.asarray(drawn, np.float32)[..., None] / 255 * defect.shade


def _paste(defect: _Defect) -> Drawn:
    """A piece of another place, of this image or of another."""
    source = defect.image
    if defect.rng.random() < 0.5:
        source = np.asarray(Image.fromarray(defect.other).resize((defect.width, defect.height)))
    down = round(defect.rng.uniform(-0.5, 0.5) * defect.height)
    right = round(defect.rng.uniform(-0.5, 0.5) * defect.width)
    shape = _Shape(defect)
    box = defect.box(shape.reach)
    rows, columns = (np.arange(side.start, side.stop) for side in box)
    piece = source[np.ix_((rows - down) % defect.height, (columns - right) % defect.width)]
    return box, _blend(defect.values(box), piece.astype(np.float32), shape.opacity(box))


def _blur(defect: _Defect) -> Drawn:
    reach = defect.pixel * _between((1, 4), defect.rng)
    shape = _Shape(defect)
    box = defect.box(shape.reach)
    wider = defect.box(shape.reach + 4 * reach + 1)  # what blurred pixels are made of
    blurred = ndimage.gaussian_filter(defect.values(wider), (reach, reach, 0))
    top, left = (inner.start - outer.start for inner, outer in zip(box, wider, strict=True))
    values = defect.values(box)
    height, width = values.shape[:2]
    return box, _blend(values, blurred[top : top + height, left : left + width], shape.opacity(box))


def _missing(defect: _Defect) -> Drawn:
    """What lies around it continues where the part should be."""
    shape, larger = _Shape(defect), _Shape(defect, size=1.5)
    box = defect.box(shape.reach, larger.reach)
    values, opacity = defect.values(box), shape.opacity(box)
    around = np.clip(larger.opacity(box) - opacity, 0, 1)
    colour = (values * around).sum((0, 1)) / max(float(around.sum()), 1e-3)
    return box, _blend(values, colour, opacity)


def _grain(defect: _Defect) -> Drawn:
    """A rough place."""
    fineness = defect.pixel * defect.rng.uniform(0.5, 2)
    noise = ndimage.gaussian_filter(defect.rng.normal(size=(defect.height, defect.width)), fineness)
    shape = _Shape(defect)
    box = defect.box(shape.reach)
    rough = (noise[box] / noise.std())[..., None] * np.abs(defect.shade)
    return box, defect.values(box) + shape.opacity(box) * rough.astype(np.float32)


def _twist(defect: _Defect) -> Drawn:
    """What is there, turned a little."""
    turn = defect.rng.choice([-1, 1]) * defect.rng.uniform(0.2, 0.8)
    shape = _Shape(defect, softness=0.6)
    box = defect.box(shape.reach)
    turned = turn * shape.opacity(box)[..., 0]
    y, x = defect.places(box)
    rows = defect.centre[0] + np.cos(turned) * y - np.sin(turned) * x
    columns = defect.centre[1] + np.sin(turned) * y + np.cos(turned) * x
    channels = [
        ndimage.map_coordinates(channel, [rows, columns], np.float32, order=1, mode="nearest")
        for channel in np.moveaxis(defect.image.astype(np.float32), 2, 0)
    ]
    return box, np.stack(channels, axis=2)


KINDS: Mapping[str, Callable[[_Defect], Drawn]] = {
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
