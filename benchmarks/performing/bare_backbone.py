"""Images a second of the backbone alone in OpenVINO: `python -m performing.bare_backbone BATCH SECONDS`.

EfficientNet-Lite0 as deep as our layers go, fed random frames from memory, fp32 as ours, on all cores: in
batches and image by image, and either one after another or with as many in flight as OpenVINO asks for. The
fastest counts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import cast

import numpy as np
import openvino
import torch
from torch import Tensor, nn

from anomalyvfm.features import backbones
from anomalyvfm.features.backbones.efficientnet import EfficientNetLite
from performing.bench import BACKBONE, SIDE


class Bare(nn.Module):
    """Stages and what comes before them; no summary, no joining."""

    def __init__(self, backbone: EfficientNetLite) -> None:
        super().__init__()
        self.stages, self.layers = backbone.stages, backbone.layers

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps (B, C, H, W) of images (B, H, W, 3) uint8."""
        x = ((images.float() - 127) / 128).permute(0, 3, 1, 2)
        maps = []
        for number, stage in enumerate(self.stages, start=1):
            x = stage(x)
            if number in self.layers:
                maps.append(x)
        return maps


def images_per_s(batch: int, hint: str, seconds: float) -> float:
    frames = np.random.default_rng(0).integers(0, 256, (batch, SIDE, SIDE, 3), np.uint8)
    bare = Bare(cast(EfficientNetLite, backbones.load(BACKBONE)))
    model = openvino.convert_model(bare, example_input=torch.from_numpy(frames), input=[frames.shape])
    settings = {
        "PERFORMANCE_HINT": hint,
        "INFERENCE_NUM_THREADS": os.cpu_count() or 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.compile_model(model, "CPU", settings)
    queue = openvino.AsyncInferQueue(compiled)  # holds as many requests as the hint asks for

    def run(until: float) -> int:
        batches = 0
        while time.perf_counter() < until:
            queue.start_async({0: frames}, share_inputs=True)
            batches += 1
        queue.wait_all()
        return batches

    run(time.perf_counter() + min(1.0, seconds / 5))
    started = time.perf_counter()
    batches = run(started + seconds)
    return batches * batch / (time.perf_counter() - started)


def main(batch: int, seconds: float) -> None:
    ways = [(count, hint) for count in {batch, 1} for hint in ("LATENCY", "THROUGHPUT")]
    found = {f"batch {count}, {hint}": images_per_s(count, hint, seconds / len(ways)) for count, hint in ways}
    print(json.dumps({"images_per_s": found}))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
