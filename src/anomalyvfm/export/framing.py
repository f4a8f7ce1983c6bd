"""What depends on an image's size, as ONNX graphs: placing it in the frame, and bringing its map back.

The formulas are those of `data.placing`: an exported graph learns the sides of its images only when it runs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import spox.opset.ai.onnx.v18 as op
from onnx import ModelProto
from spox import Tensor, Var, argument, build
from spox.opset.ai.onnx.v18 import add, div, mul, sub

from anomalyvfm.data import InputFrame

IMAGES = Tensor(np.uint8, ("B", "H", "W", 3))


class _Side(NamedTuple):
    """One side of an image in pixels (1,), and which stretch of the frame's it takes up."""

    pixels: Var
    start: Var
    length: Var


def placing(frame: InputFrame, branching: bool) -> ModelProto:
    """`InputFrame.place`: ``images`` (B, H, W, 3) to ``pixels`` (B, height, width, 3), both uint8.

    Rounded after each axis, as Pillow does. With ``branching`` images of the frame's size go through as they
    are, at no cost.
    """
    images = argument(IMAGES)

    def placed() -> Var:
        rows, columns = _window(images, frame)
        down, across = _placed(rows, frame.height), _placed(columns, frame.width)
        planes = op.cast(op.transpose(images, perm=[0, 3, 1, 2]), to=np.float32)
        narrow = op.floor(add(op.matmul(planes, op.transpose(across)), _float(0.5)))
        return op.floor(add(op.matmul(down, narrow), _float(0.5)))

    def as_pixels(planes: Var) -> Var:
        return op.transpose(op.cast(planes, to=np.uint8), perm=[0, 2, 3, 1])

    if not branching:
        return build({"images": images}, {"pixels": as_pixels(placed())})
    same_sides = op.equal(op.shape(images, start=1, end=3), _int([frame.height, frame.width]))
    same = op.cast(op.reduce_min(op.cast(same_sides, to=np.float32), keepdims=False), to=np.bool_)
    (pixels,) = op.if_(
        same, then_branch=lambda: [op.identity(images)], else_branch=lambda: [as_pixels(placed())]
    )
    return build({"images": images}, {"pixels": pixels})


def restoring(frame: InputFrame, shape: tuple[int, int]) -> ModelProto:
    """`InputFrame.restore`: ``grid`` (B, h, w) to ``map`` (B, H, W), for ``images`` (B, H, W, 3)."""
    images, grid = argument(IMAGES), argument(Tensor(np.float32, ("B", *shape)))
    rows, columns = _window(images, frame)
    down = _restored(rows, frame.height, shape[0])
    across = _restored(columns, frame.width, shape[1])
    map_ = op.matmul(op.matmul(down, grid), op.transpose(across))
    return build({"images": images, "grid": grid}, {"map": map_})


def _window(images: Var, frame: InputFrame) -> tuple[_Side, _Side]:
    """`InputFrame.window`, of rows and columns."""
    # In double precision, as Python computes it: a rounding here is a pixel.
    pixels = [op.cast(op.shape(images, start=axis, end=axis + 1), to=np.float64) for axis in (1, 2)]
    sides = [op.const([side], np.float64) for side in (frame.height, frame.width)]
    lengths = sides
    if frame.aspect == "keep":
        scale = op.min([div(side, count) for side, count in zip(sides, pixels, strict=True)])
        rounded = [op.max([op.round(mul(count, scale)), op.const([1.0], np.float64)]) for count in pixels]
        lengths = [op.min([length, side]) for length, side in zip(rounded, sides, strict=True)]
    two = op.const([2.0], np.float64)
    starts = [op.floor(div(sub(side, length), two)) for side, length in zip(sides, lengths, strict=True)]
    rows, columns = (
        _Side(*(op.cast(one, to=np.float32) for one in values))
        for values in zip(pixels, starts, lengths, strict=True)
    )
    return rows, columns


def _placed(side: _Side, length: int) -> Var:
    """Weights (length, pixels) of an image's pixels in the frame's; beyond the image, those of its border."""
    inside = sub(op.const(np.arange(length), np.float32), side.start)
    held = op.min([op.max([inside, _float(0)]), sub(side.length, _float(1))])
    step = div(side.pixels, side.length)
    return _bilinear(mul(add(held, _float(0.5)), step), step, side.pixels)


def _restored(side: _Side, length: int, patches: int) -> Var:
    """Weights (pixels, patches) of a map's patches in the image's pixels."""
    patch = _float(patches / length)
    step = mul(div(side.length, side.pixels), patch)
    centres = add(mul(add(_counted(side.pixels), _float(0.5)), step), mul(side.start, patch))
    return _bilinear(centres, step, op.const([patches], np.float32))


def _bilinear(centres: Var, step: Var, patches: Var) -> Var:
    """`data.placing.bilinear`: weights (points, patches) of points that lie ``step`` apart."""
    points = op.reshape(centres, _int([-1, 1]))
    lengths = op.abs(sub(add(_counted(patches), _float(0.5)), points))
    hats = op.max([sub(_float(1), div(lengths, op.max([step, _float(1)]))), _float(0)])
    return div(hats, op.reduce_sum(hats, _int([1])))


def _counted(length: Var) -> Var:
    """0, 1, … up to a length (1,)."""
    end = op.squeeze(op.cast(length, to=np.int64))
    return op.cast(op.range(_int(0), end, _int(1)), to=np.float32)


def _float(value: float) -> Var:
    return op.const(value, np.float32)


def _int(value: int | list[int]) -> Var:
    return op.const(value, np.int64)
