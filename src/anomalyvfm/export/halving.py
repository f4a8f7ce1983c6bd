"""Storage in half the bytes: tensors as float16, cast to float32 where the graph uses them."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

LEAST_STORED = 1024
"""Elements from which on a tensor is worth a cast."""

_LARGEST = float(np.finfo(np.float16).max)

PARTS = ("backbone", "scorer")


def halved(model: ModelProto, parts: tuple[str, ...]) -> ModelProto:
    """A copy whose large float32 constants of those ``PARTS`` are stored as float16.

    A tensor with values that float16 does not reach stays as it is.
    """
    copied = ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    in_backbone = {name for node in backbone_nodes(model) for name in node.input}
    casts = []
    for tensor in graph.initializer:
        part = PARTS[0] if tensor.name in in_backbone else PARTS[1]
        if tensor.data_type != TensorProto.FLOAT or part not in parts:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < LEAST_STORED or np.abs(values).max() > _LARGEST:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return copied


def backbone_nodes(model: ModelProto) -> list[NodeProto]:
    """The nodes that the summary of an image is computed by: those of the backbone."""
    producers = {name: node for node in model.graph.node for name in node.output}
    found, names = [], ["summary"]
    seen: set[str] = set()
    while names:
        name = names.pop()
        if name in seen or (node := producers.get(name)) is None:
            continue
        seen.update(node.output)
        found.append(node)
        names += node.input
    return found
