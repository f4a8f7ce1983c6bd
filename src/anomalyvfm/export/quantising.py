"""Static quantisation of the backbone to 8 bits, kept only where it finds synthetic defects as well."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.errors import InputError
from anomalyvfm.export.halving import backbone_nodes
from anomalyvfm.metrics.image import auroc
from anomalyvfm.runtime import Runtime
from anomalyvfm.synthesis import MIXES, orders, synthesize

MOST_LOST = 0.005
"""Image AUROC on synthetic defects that int8 may cost."""

_CALIBRATED_BY = 64  # images
_DEFECTS = 100
_PRODUCTS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Plan:
    """Which of the backbone's products are quantised."""

    name: str
    depthwise: bool = True
    ends: bool = True


PLANS = (
    Plan("all layers"),
    Plan("all but depthwise layers", depthwise=False),
    Plan("all but depthwise, first and last layers", depthwise=False, ends=False),
)
"""Tried in this order; the first that costs little enough is taken."""


def quantised(
    model: ModelProto,
    good: Sequence[NDArray[np.uint8]],
    exact: Runtime,
    loaded: Callable[[ModelProto], Runtime],
    folder: Path,
    seed: int,
) -> tuple[ModelProto, dict[str, Any]]:
    """The model with an 8-bit backbone, and what that costs by ``good`` images in the frame.

    Raises InputError, with the figure, where every plan costs more than `MOST_LOST`.
    """
    wanted = orders(MIXES["v1.1"]["medium"], _DEFECTS, seed)
    bad = [made.image for made in synthesize(good, wanted, seed)]
    before = _auroc(exact, good, bad)
    tried: list[dict[str, Any]] = []
    for plan in PLANS:
        smaller = _quantised(model, plan, good, folder)
        _rescale(smaller, exact.predict(good), loaded(smaller).predict(good))
        after = _auroc(loaded(smaller), good, bad)
        cost: dict[str, Any] = {
            "plan": plan.name,
            "auroc_fp32": before,
            "auroc_int8": after,
            "images": len(good),
        }
        tried.append(cost)
        if before - after < MOST_LOST:
            return smaller, cost
    best = max(tried, key=lambda cost: float(cost["auroc_int8"]))
    raise InputError(
        f"int8 would cost {before - best['auroc_int8']:.4f} of the image AUROC on synthetic defects"
        f" ({before:.4f} in fp32, {best['auroc_int8']:.4f} with {best['plan']} in int8), and at most"
        f" {MOST_LOST} is let pass; export fp16 or fp32"
    )


def _auroc(runtime: Runtime, good: Sequence[NDArray[np.uint8]], bad: Sequence[NDArray[np.uint8]]) -> float:
    scores = [verdict.score for verdict in runtime.predict([*good, *bad])]
    value = auroc(scores, [False] * len(good) + [True] * len(bad)).value
    assert value is not None  # both kinds are there, and scores are finite
    return value


def _quantised(model: ModelProto, plan: Plan, good: Sequence[NDArray[np.uint8]], folder: Path) -> ModelProto:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            self._images: Iterator[NDArray[np.uint8]] = iter(good[:_CALIBRATED_BY])

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            image = next(self._images, None)
            return None if image is None else {"images": image[None]}

    logger = logging.getLogger()
    level = logger.level
    before, after = folder / "exact.onnx", folder / "quantised.onnx"
    onnx.save(model, before)
    logger.setLevel(logging.ERROR)  # it recommends a step that would change the graph
    try:
        quantize_static(
            before,
            after,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=[node.name for node in _products(model, plan)],
        )
    finally:
        logger.setLevel(level)
    return onnx.load(after)


def _rescale(model: ModelProto, expected: Sequence[Verdict], found: Sequence[Verdict]) -> None:
    """Bring good images' scores and maps back to the mean and the spread they had.

    The scorer takes the roundings of 8 bits for something odd, in good images as in others; without this the
    threshold would promise nothing.
    """
    for output, wanted, given in (
        ("score", [v.score for v in expected], [v.score for v in found]),
        ("grid", [v.anomaly_map for v in expected], [v.anomaly_map for v in found]),
    ):
        gain = float(np.std(wanted) / max(float(np.std(given)), 1e-6))
        offset = float(np.mean(wanted) - gain * np.mean(given))
        place, producer = next(
            (place, node) for place, node in enumerate(model.graph.node) if output in node.output
        )
        producer.output[list(producer.output).index(output)] = f"{output}_8_bit"
        model.graph.initializer.extend(
            numpy_helper.from_array(np.float32(value), f"{output}_{name}")
            for name, value in (("gain", gain), ("offset", offset))
        )
        nodes = list(model.graph.node)
        nodes[place + 1 : place + 1] = [
            helper.make_node("Mul", [f"{output}_8_bit", f"{output}_gain"], [f"{output}_scaled"]),
            helper.make_node("Add", [f"{output}_scaled", f"{output}_offset"], [output]),
        ]
        del model.graph.node[:]
        model.graph.node.extend(nodes)


def _products(model: ModelProto, plan: Plan) -> list[NodeProto]:
    """The backbone's convolutions and products with constants that a plan quantises, first to last."""
    constants = {tensor.name for tensor in model.graph.initializer}
    backbone = {node.name for node in backbone_nodes(model)}
    products = [
        node
        for node in model.graph.node
        if node.name in backbone and node.op_type in _PRODUCTS and constants.intersection(node.input)
    ]
    if not plan.ends:
        products = products[1:-1]
    return [node for node in products if plan.depthwise or _groups(node) == 1]


def _groups(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
