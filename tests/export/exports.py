"""Exports of one detector in both kinds, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto

from anomalyvfm.data import InputFrame
from anomalyvfm.detector import Detector
from anomalyvfm.export import assembling
from anomalyvfm.export.exporting import export
from anomalyvfm.export.graph import JudgingGraph

KINDS = ("onnx", "openvino")


def in_both_kinds(detector: Detector, folder: Path) -> dict[str, dict[str, Any]]:
    """Export into a folder of the kind's name each; what the manifests say.

    Torch records the detector once, which takes most of an export's time and is the same for both.
    """
    record = assembling._on_frame
    recorded: list[ModelProto] = []

    def once(graph: JudgingGraph, frame: InputFrame) -> ModelProto:
        if not recorded:
            recorded.append(record(graph, frame))
        model = ModelProto()
        model.CopyFrom(recorded[0])
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembling, "_on_frame", once)
        return {kind: export(detector, folder / kind, kind) for kind in KINDS}
