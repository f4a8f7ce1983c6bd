"""EfficientNet-Lite0's published weights under the names that timm's `tf_efficientnet_lite0` has for them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_BLOCKS = (1, 2, 2, 3, 3, 4, 1)  # of each stage
_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
# The first stage's block does not widen: timm calls what narrows it by another name there.
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def timm_weights(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the stem and all blocks; those of the classifier behind them are left out."""
    places = [(stage, block) for stage, count in enumerate(_BLOCKS) for block in range(count)]
    found = {}
    for name, tensor in published.items():
        if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            stage, block = places[int(match[1])]
            layer = (_FIRST if stage == 0 else _OTHER)[match[2]]
            found[f"blocks.{stage}.{block}.{layer}.{match[3]}"] = tensor.contiguous()
        else:
            layer, _, kind = name.partition(".")
            if layer in _STEM:
                found[f"{_STEM[layer]}.{kind}"] = tensor.contiguous()
    return found
