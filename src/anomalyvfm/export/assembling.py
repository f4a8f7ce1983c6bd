"""The exported graph: from raw RGB bytes of any size to score, p-value and a map of that size, in ONNX.

torch writes down what happens in the frame, for any number of images. What depends on the size of the
images, placing them in the frame and bringing maps back to their size, is put before and after it here.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto, compose, helper
from torch import nn

from anomalyvfm.data import InputFrame
from anomalyvfm.errors import InputError
from anomalyvfm.export.framing import placing, restoring
from anomalyvfm.export.graph import JudgingGraph
from anomalyvfm.features.core_threads import one_core
from anomalyvfm.runtime.manifest import LIGHT, SCORES

OPSET = 18
_LARGEST = 2**31 - 2**20  # bytes; a protocol buffer holds no more


def assemble(graph: JudgingGraph, frame: InputFrame, branching: bool = True) -> ModelProto:
    """The whole graph of one detector.

    Input ``images`` (B, H, W, 3) uint8; outputs ``score`` (B,), ``p_value`` (B,), ``grid`` (B, h, w), ``map``
    (B, H, W), ``summary`` (B, D) and, where it is judged, ``light`` (B,), float32.
    ``branching`` spares images of the frame's size what places others there; OpenVINO mistakes such graphs.

    Raises InputError for a model too large for one file, and for a backbone that torch cannot record.
    """
    size = sum(tensor.nbytes for tensor in graph.state_dict().values())
    if size > _LARGEST:
        raise InputError(
            f"a backbone of {size / 1e9:.1f} GB does not fit into an ONNX file; fit with a smaller one"
        )
    model = _on_frame(graph, frame)
    grid = next(output for output in model.graph.output if output.name == "grid").type.tensor_type.shape
    shape = (grid.dim[1].dim_value, grid.dim[2].dim_value)
    nodes = [
        *_nodes(placing(frame, branching), "place"),
        *model.graph.node,
        *_nodes(restoring(frame, shape), "restore"),
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, ["B", "H", "W", 3]))
    map_ = helper.make_tensor_value_info("map", TensorProto.FLOAT, ["B", "H", "W"])
    outputs = {output.name: output for output in [*model.graph.output, map_]}
    del model.graph.output[:]
    named = (*SCORES, "map", "summary", LIGHT)
    model.graph.output.extend(outputs[name] for name in named if name in outputs)
    onnx.checker.check_model(model)
    return model


def _on_frame(graph: JudgingGraph, frame: InputFrame) -> ModelProto:
    """What torch records, with the input ``pixels`` (B, height, width, 3)."""
    # Of two images: torch takes a dimension of one for a constant.
    example = torch.zeros(2, frame.height, frame.width, 3, dtype=torch.uint8)
    # On one core: what other threads do is not recorded, and a graph must not depend on the machine's cores.
    with _quiet(), torch.no_grad(), one_core(), _not_in_place(graph):
        try:
            program = torch.onnx.export(
                graph.eval(),
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=["pixels"],
                output_names=list(graph.outputs),
                dynamic_shapes=({0: torch.export.Dim("B", min=1)},),
            )
        except torch.onnx.OnnxExporterError as error:
            first_line = str(error.__cause__ or error).partition("\n")[0]
            raise InputError(
                f"torch cannot record this model ({first_line}); what a backbone does must not depend on the"
                " values it sees; judge with the fitted model, or fit with another backbone"
            ) from error
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:  # traces of the machine it was recorded on
        del node.metadata_props[:]
        node.doc_string = ""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for value in [*model.graph.output, *model.graph.initializer]:
        del value.metadata_props[:]
    return model


def _nodes(model: ModelProto, prefix: str) -> list[NodeProto]:
    """A graph's nodes, such that nothing but what goes in and comes out has a name that others may have."""
    inside = compose.add_prefix(model, f"{prefix}/", rename_inputs=False, rename_outputs=False)
    return list(inside.graph.node)


@contextmanager
def _not_in_place(network: nn.Module) -> Iterator[None]:
    """With activations that leave what they are given as it is, in this scope.

    Of one that works in place torch works out at length, with the number of images unknown, that it changes
    nothing else: a third of the time of recording. What is recorded is the same.
    """
    changed = [module for module in network.modules() if isinstance(module, nn.ReLU6) and module.inplace]
    try:
        for module in changed:
            module.inplace = False
        yield
    finally:
        for module in changed:
            module.inplace = True


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on how it exports, in this scope."""
    loggers = [logging.getLogger(f"torch.{name}") for name in ("onnx", "fx", "_dynamo")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        # Where it fails, it prints the graph it came to.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
