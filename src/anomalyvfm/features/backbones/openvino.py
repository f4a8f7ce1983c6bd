"""EfficientNet-Lite run by OpenVINO: the same weights and features in about half of torch's time on a CPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

INSTALLED = find_spec("openvino") is not None


@dataclass(frozen=True)
class OpenVinoFeatures:
    """What `layers` of an EfficientNet-Lite's `stages` see; equal for equal weights and layers.

    Images go through one by one, each on one core: an image's features are then the same to the last bit,
    whatever it is batched with.
    """

    weight_hash: str
    layers: tuple[int, ...]
    detail: int | None
    """The stage in detail, if any."""
    stages: nn.ModuleList = field(compare=False, repr=False)

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Patches (B, h, w, C), summaries (B, D) and the detail, float32, of images (B, H, W, 3) uint8."""
        return _compiled(self, images.shape[1], images.shape[2], torch.get_num_threads()).run(images)


# Shared by all that see the same: a process may hold many models of one backbone.
@lru_cache(maxsize=8)
def _compiled(network: OpenVinoFeatures, height: int, width: int, cores: int) -> _Compiled:
    return _Compiled(_graph(network.stages, network.layers, network.detail, height, width), cores)


class _Compiled:
    """A graph for one size of image, ready to run on so many cores."""

    def __init__(self, graph: Any, cores: int) -> None:
        import openvino

        settings = {
            "NUM_STREAMS": cores,
            "INFERENCE_NUM_THREADS": cores,
            "INFERENCE_PRECISION_HINT": "f32",  # newer processors would be given bf16
            "ENABLE_CPU_PINNING": False,  # two processes would be pinned to the same core
        }
        compiled = openvino.Core().compile_model(graph, "CPU", settings)
        self._requests = [compiled.create_infer_request() for _ in range(2 * cores)]
        self._shapes = [tuple(output.shape)[1:] for output in graph.outputs]
        self._turn = threading.Lock()  # the requests belong to one caller at a time

    def run(self, images: Tensor) -> tuple[Tensor, ...]:
        import openvino

        pixels = images.contiguous().numpy()
        results = [np.empty((len(pixels), *shape), np.float32) for shape in self._shapes]
        with self._turn:
            for row, request in zip(range(len(pixels)), cycle(self._requests)):
                request.wait()
                # Written where it belongs: nobody copies it, and no core waits for Python.
                for number, result in enumerate(results):
                    own = openvino.Tensor(result[row : row + 1], shared_memory=True)
                    request.set_output_tensor(number, own)
                request.start_async({0: pixels[row : row + 1]}, share_inputs=True)
            for request in self._requests:
                request.wait()
        return tuple(map(torch.from_numpy, results))


def _graph(stages: nn.ModuleList, layers: Sequence[int], detail: int | None, height: int, width: int) -> Any:
    """The OpenVINO model of one image (1, H, W, 3), as `EfficientNetLite._joined` computes it in torch."""
    import openvino
    from openvino import opset13 as ops

    images = ops.parameter([1, height, width, 3], np.uint8, name="images")
    x = ops.divide(ops.subtract(ops.convert(images, "f32"), np.float32(127)), np.float32(128))
    x = ops.transpose(x, [0, 3, 1, 2])
    maps, detailed = [], []
    for number, stage in enumerate(stages, start=1):
        x = _translated(stage, x)
        if number in layers:
            maps.append(x)
        if number == detail:
            detailed.append(ops.transpose(x, [0, 2, 3, 1]))
    means = [ops.reduce_mean(m, [2, 3], keep_dims=True) for m in maps]
    variances = [
        ops.reduce_mean(ops.squared_difference(m, mean), [2, 3]) for m, mean in zip(maps, means, strict=True)
    ]
    summary = [ops.squeeze(mean, [2, 3]) for mean in means] + [ops.sqrt(variance) for variance in variances]
    grid = list(maps[0].shape)[2:]
    fine = [
        m
        if list(m.shape)[2:] == grid
        else ops.interpolate(
            m,
            grid,
            mode="linear_onnx",
            shape_calculation_mode="sizes",
            coordinate_transformation_mode="half_pixel",
            axes=[2, 3],
        )
        for m in maps
    ]
    patches = ops.transpose(ops.concat(fine, 1), [0, 2, 3, 1])
    return openvino.Model([patches, ops.concat(summary, 1), *detailed], [images], "efficientnet-lite")


def _translated(module: nn.Module, x: Any) -> Any:
    """The OpenVINO node of a torch module applied to one; only modules that the network is made of."""
    from openvino import opset13 as ops

    if isinstance(module, nn.Sequential):
        for part in module:
            x = _translated(part, x)
        return x
    if isinstance(module, nn.ReLU6):
        return ops.clamp(x, 0.0, 6.0)
    if isinstance(module, nn.Conv2d):
        return _convolution(module, x)
    (block,) = module.children()  # a residual block's
    return ops.add(x, _translated(block, x))


def _convolution(module: nn.Conv2d, x: Any) -> Any:
    from openvino import opset13 as ops

    kernel = module.weight.detach().cpu().contiguous().numpy()
    padding = [int(side) for side in module.padding]
    settings = (list(module.stride), padding, padding, list(module.dilation))
    if module.groups == 1:
        y = ops.convolution(x, kernel, *settings)
    else:
        y = ops.group_convolution(x, kernel.reshape(module.groups, -1, *kernel.shape[1:]), *settings)
    assert module.bias is not None  # the batch norm's offset
    return ops.add(y, module.bias.detach().cpu().numpy().reshape(1, -1, 1, 1))
