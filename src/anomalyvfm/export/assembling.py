"""The exported graph: from raw RGB bytes of any size to score, p-value and a map of that size, in ONNX.

torch writes down what happens in the frame, for any number of images. What depends on the size of the
images, placing them in the frame and bringing maps back to their size, is put before and after it here.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, parser

from anomalyvfm.data import InputFrame
from anomalyvfm.errors import InputError
from anomalyvfm.export.graph import OUTPUTS, JudgingGraph
from anomalyvfm.features.core_threads import one_core
from anomalyvfm.runtime.manifest import PLACED, SCORES

OPSET = 18
_LARGEST = 2**31 - 2**20  # bytes; a protocol buffer holds no more


def assemble(graph: JudgingGraph, frame: InputFrame, branching: bool = True) -> ModelProto:
    """The whole graph of one detector.

    Input ``images`` (B, H, W, 3) uint8; outputs ``score`` (B,), ``p_value`` (B,), ``grid`` (B, h, w), ``map``
    (B, H, W) and ``summary`` (B, D), float32.
    ``branching`` spares images of the frame's size what places others there; OpenVINO mistakes such graphs.

    Raises InputError for a model too large for one file.
    """
    size = sum(tensor.nbytes for tensor in graph.state_dict().values())
    if size > _LARGEST:
        raise InputError(
            f"a backbone of {size / 1e9:.1f} GB does not fit into an ONNX file; fit with a smaller one"
        )
    model = _on_frame(graph, frame)
    grid = next(output for output in model.graph.output if output.name == "grid").type.tensor_type.shape
    shape = (grid.dim[1].dim_value, grid.dim[2].dim_value)
    nodes = [*_nodes(_placing(frame, branching)), *model.graph.node, *_nodes(_mapping(frame, shape))]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, ["B", "H", "W", 3]))
    map_ = helper.make_tensor_value_info("map", TensorProto.FLOAT, ["B", "H", "W"])
    outputs = {output.name: output for output in [*model.graph.output, map_]}
    del model.graph.output[:]
    model.graph.output.extend(outputs[name] for name in (*SCORES, "map", "summary"))
    onnx.checker.check_model(model)
    return model


def _on_frame(graph: JudgingGraph, frame: InputFrame) -> ModelProto:
    """What torch records, with the input ``pixels`` (B, height, width, 3)."""
    # Of two images: torch takes a dimension of one for a constant.
    example = torch.zeros(2, frame.height, frame.width, 3, dtype=torch.uint8)
    # On one core: what other threads do is not recorded, and a graph must not depend on the machine's cores.
    with _quiet(), torch.no_grad(), one_core():
        program = torch.onnx.export(
            graph.eval(),
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("B", min=1)},),
        )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:  # traces of the machine it was recorded on
        del node.metadata_props[:]
        node.doc_string = ""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for value in [*model.graph.output, *model.graph.initializer]:
        del value.metadata_props[:]
    return model


def _placing(frame: InputFrame, branching: bool) -> str:
    """`InputFrame.place` as a graph from ``images`` to ``pixels``, rounded after each axis as Pillow does.

    With ``branching`` images of the frame's size go through as they are, at no cost.
    """
    height, width = frame.height, frame.width
    body = (
        _resizing(frame, "pixels")
        if not branching
        else f"""
        here = Shape<start = 1, end = 3>(images)
        there = Constant<value = int64[2] {{{height}, {width}}}>()
        same_sides = Equal(here, there)
        same_sides_f = Cast<to = 1>(same_sides)
        both = ReduceMin<keepdims = 0>(same_sides_f)
        same = Cast<to = 9>(both)
        pixels = If(same) <
            then_branch = as_it_is () => (uint8[b0, h0, w0, c0] unchanged) {{
                unchanged = Identity(images)
            }},
            else_branch = to_frame () => (uint8[b1, h1, w1, c1] resized) {{
                {_resizing(frame, "resized")}
            }}
        >"""
    )
    return f"""
    g (uint8[B, H, W, 3] images) => (uint8[B, {height}, {width}, 3] pixels) {{
        {_window(frame)}
        {body}
    }}"""


def _resizing(frame: InputFrame, result: str) -> str:
    return f"""
        {_placed_at("row", frame.height)}
        {_placed_at("column", frame.width)}
        {_weights("placed_row")}
        {_weights("placed_column")}
        planes = Transpose<perm = [0, 3, 1, 2]>(images)
        values = Cast<to = 1>(planes)
        a_half = Constant<value = float {{0.5}}>()
        across = Transpose<perm = [1, 0]>(placed_column_weights)
        narrow = MatMul(values, across)
        narrow_up = Add(narrow, a_half)
        narrow_rounded = Floor(narrow_up)
        small = MatMul(placed_row_weights, narrow_rounded)
        small_up = Add(small, a_half)
        {PLACED} = Floor(small_up)
        small_8 = Cast<to = 2>({PLACED})
        {result} = Transpose<perm = [0, 2, 3, 1]>(small_8)"""


def _mapping(frame: InputFrame, grid: tuple[int, int]) -> str:
    """`InputFrame.restore` as a graph from ``grid`` to ``map``; it knows what `_placing` does."""
    return f"""
    g (float[B, {grid[0]}, {grid[1]}] grid) => (float[B, H, W] map) {{
        {_restored_at("row", frame.height, grid[0])}
        {_restored_at("column", frame.width, grid[1])}
        {_weights("map_row")}
        {_weights("map_column")}
        map_across = Transpose<perm = [1, 0]>(map_column_weights)
        map_tall = MatMul(map_row_weights, grid)
        map = MatMul(map_tall, map_across)
    }}"""


def _window(frame: InputFrame) -> str:
    """`InputFrame.window`: each side's ``*_start`` and ``*_length`` (1,), beside the image's ``*_side``."""
    text = ""
    for axis, name, side in ((1, "row", frame.height), (2, "column", frame.width)):
        text += f"""
        {name}_int = Shape<start = {axis}, end = {axis + 1}>(images)
        {name}_side = Cast<to = 1>({name}_int)
        {name}_side_d = Cast<to = 11>({name}_int)
        {name}_frame = Constant<value = double[1] {{{side}.0}}>()
        {name}_share = Div({name}_frame, {name}_side_d)"""
    # In double precision, as Python computes it: a rounding here is a pixel.
    text += """
        two_d = Constant<value = double[1] {2.0}>()"""
    if frame.aspect == "keep":
        text += """
        one_d = Constant<value = double[1] {1.0}>()
        scale = Min(row_share, column_share)"""
    for name in ("row", "column"):
        if frame.aspect == "stretch":
            text += f"""
        {name}_length_d = Identity({name}_frame)"""
        else:
            text += f"""
        {name}_exact = Mul({name}_side_d, scale)
        {name}_rounded = Round({name}_exact)
        {name}_positive = Max({name}_rounded, one_d)
        {name}_length_d = Min({name}_positive, {name}_frame)"""
        text += f"""
        {name}_border = Sub({name}_frame, {name}_length_d)
        {name}_half_border = Div({name}_border, two_d)
        {name}_start_d = Floor({name}_half_border)
        {name}_start = Cast<to = 1>({name}_start_d)
        {name}_length = Cast<to = 1>({name}_length_d)"""
    return text


def _placed_at(name: str, side: int) -> str:
    """Where on the image each of the frame's ``side`` rows or columns lies: beyond it, on its border."""
    places = ", ".join(f"{place}.0" for place in range(side))
    return f"""
        placed_{name}_zero = Constant<value = float {{0.0}}>()
        placed_{name}_one = Constant<value = float {{1.0}}>()
        placed_{name}_half = Constant<value = float {{0.5}}>()
        placed_{name}_places = Constant<value = float[{side}] {{{places}}}>()
        placed_{name}_inside = Sub(placed_{name}_places, {name}_start)
        placed_{name}_last = Sub({name}_length, placed_{name}_one)
        placed_{name}_low = Max(placed_{name}_inside, placed_{name}_zero)
        placed_{name}_held = Min(placed_{name}_low, placed_{name}_last)
        placed_{name}_middle = Add(placed_{name}_held, placed_{name}_half)
        placed_{name}_side = Cast<to = 1>({name}_int)
        placed_{name}_step = Div(placed_{name}_side, {name}_length)
        placed_{name}_centres = Mul(placed_{name}_middle, placed_{name}_step)
        placed_{name}_patches = Identity({name}_int)"""


def _restored_at(name: str, side: int, patches: int) -> str:
    """Where on the grid of ``patches`` each row or column of the image lies."""
    return f"""
        map_{name}_zero = Constant<value = float {{0.0}}>()
        map_{name}_one = Constant<value = float {{1.0}}>()
        map_{name}_half = Constant<value = float {{0.5}}>()
        map_{name}_patch = Constant<value = float {{{patches / side!r}}}>()
        map_{name}_from = Mul({name}_start, map_{name}_patch)
        map_{name}_share_of_image = Div({name}_length, {name}_side)
        map_{name}_step = Mul(map_{name}_share_of_image, map_{name}_patch)
        map_{name}_first = Constant<value = int64 {{0}}>()
        map_{name}_next = Constant<value = int64 {{1}}>()
        map_{name}_count = Squeeze({name}_int)
        map_{name}_numbers = Range(map_{name}_first, map_{name}_count, map_{name}_next)
        map_{name}_places = Cast<to = 1>(map_{name}_numbers)
        map_{name}_middle = Add(map_{name}_places, map_{name}_half)
        map_{name}_along = Mul(map_{name}_middle, map_{name}_step)
        map_{name}_centres = Add(map_{name}_along, map_{name}_from)
        map_{name}_patches = Constant<value = int64[1] {{{patches}}}>()"""


def _weights(name: str) -> str:
    """`data.placing.bilinear`: weights (points, patches) of ``*_centres`` ``*_step`` apart."""
    return f"""
        {name}_wide = Max({name}_step, {name}_one)
        {name}_begin = Constant<value = int64 {{0}}>()
        {name}_by = Constant<value = int64 {{1}}>()
        {name}_end = Squeeze({name}_patches)
        {name}_indices = Range({name}_begin, {name}_end, {name}_by)
        {name}_indices_f = Cast<to = 1>({name}_indices)
        {name}_cell_centres = Add({name}_indices_f, {name}_half)
        {name}_upright = Constant<value = int64[2] {{-1, 1}}>()
        {name}_points = Reshape({name}_centres, {name}_upright)
        {name}_distances = Sub({name}_cell_centres, {name}_points)
        {name}_lengths = Abs({name}_distances)
        {name}_away = Div({name}_lengths, {name}_wide)
        {name}_near = Sub({name}_one, {name}_away)
        {name}_hats = Max({name}_near, {name}_zero)
        {name}_axis = Constant<value = int64[1] {{1}}>()
        {name}_sums = ReduceSum({name}_hats, {name}_axis)
        {name}_weights = Div({name}_hats, {name}_sums)"""


def _nodes(text: str) -> list[NodeProto]:
    """The nodes of a graph in ONNX's own notation."""
    return list(parser.parse_graph(text).node)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on how it exports, in this scope."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
