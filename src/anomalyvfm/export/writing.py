"""An assembled graph as the files of either runtime."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from anomalyvfm.errors import InputError
from anomalyvfm.export.halving import LEAST_STORED
from anomalyvfm.runtime.manifest import GRAPHS


def check_installed(kind: str) -> None:
    """Raise InputError, before any work is done, where what writes a kind of export is not installed."""
    needed = ("onnx", "onnxscript", "onnxruntime", "spox", *(["openvino"] if kind == "openvino" else []))
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise InputError(
            f"export to {kind} needs {', '.join(missing)}: pip install 'anomalyvfm[export]' brings all"
        )


def write_graph(model: ModelProto, folder: Path, kind: str) -> None:
    """Write ``model.onnx``, or the same graph converted: ``model.xml`` and ``model.bin``."""
    path = folder / GRAPHS["onnx"]
    onnx.save(model, path)
    if kind == "openvino":
        import openvino

        converted = openvino.convert_model(path)
        _store_in_half(converted)
        openvino.save_model(converted, folder / GRAPHS[kind], compress_to_fp16=False)
        path.unlink()


def _store_in_half(graph: Any) -> None:
    """Keep constants as float16 that are no more: converting has folded their casts to float32."""
    from openvino import opset13 as ops

    for node in graph.get_ops():
        if node.get_type_name() != "Constant" or node.get_element_type().to_string() != "f32":
            continue
        half = node.data.astype(np.float16)
        if half.size < LEAST_STORED or not np.array_equal(half, node.data):
            continue
        readers = node.output(0).get_target_inputs()
        cast = ops.convert(ops.constant(half), "f32")
        for reader in readers:
            reader.replace_source_output(cast.output(0))
