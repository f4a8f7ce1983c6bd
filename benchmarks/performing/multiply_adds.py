"""Multiply-adds of the backbone as it runs, for one image: `python -m performing.multiply_adds`.

Where a convolution halves the grid, our kernels carry a row and a column of zeros that take part.
"""

from __future__ import annotations

import json
from typing import Any, cast

import torch
from torch import Tensor, nn

from anomalyvfm.features import backbones
from anomalyvfm.features.backbones.efficientnet import EfficientNetLite
from performing.bench import BACKBONE, SIDE


def multiply_adds(network: nn.Module, run: Any) -> int:
    """Of all convolutions and linear layers of ``network``, for one image, while ``run()`` judges one."""
    seen = 0

    def count(layer: nn.Module, _: Any, out: Tensor) -> None:
        nonlocal seen
        assert isinstance(layer.weight, Tensor)
        per_output = layer.weight[0].numel()
        seen += out[0].numel() * per_output

    hooks = [
        layer.register_forward_hook(count)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    run()
    for hook in hooks:
        hook.remove()
    return seen


def backbone_multiply_adds() -> int:
    backbone = cast(EfficientNetLite, backbones.load(BACKBONE))
    return multiply_adds(backbone.stages, lambda: backbone(torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)))


if __name__ == "__main__":
    print(json.dumps({"count": backbone_multiply_adds()}))
