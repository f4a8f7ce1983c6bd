"""Write EfficientNet-Lite0's published weights for anomalib: `python -m performing.anomalib_weights FILE`."""

from __future__ import annotations

import sys

import torch
from safetensors.torch import save_file

from anomalyvfm.features import backbones
from timm_names import timm_weights


def main(file: str) -> None:
    published = torch.load(backbones.load("efficientnet-lite0").source, map_location="cpu", weights_only=True)
    save_file(timm_weights(published), file)


if __name__ == "__main__":
    main(sys.argv[1])
