"""DINOv2-base, of random weights, at 518 px: what `predict` adds to the backbone, and how large a model is.

    python -m performing.dino checkpoint FOLDER
    python -m performing.dino overhead MODEL CHECKPOINT IMAGES OUT

Random weights say nothing about accuracy, and take as long as trained ones.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from performing.bench import our_module
from performing.rows import Row, Spread

if TYPE_CHECKING:
    from performing.bench import Bench

_SIDE = 518
_LEARNED, _JUDGED = 8, 16
_OVERHEAD = 0.10
_LARGEST_MB = 150.0


def dino(bench: Bench) -> list[Row]:
    checkpoint, model = bench.work / "dinov2-base", bench.work / "dino-model"

    def fitted() -> Path:
        bench.make(checkpoint, our_module("dino", "checkpoint", checkpoint))
        images = bench.to_learn(_LEARNED)
        return bench.make(model, bench.fit_command(images, model, str(checkpoint), _SIDE))

    found = [
        bench.child(
            "dino",
            "overhead",
            "dino",
            lambda: "overhead",
            fitted,
            lambda: checkpoint,
            lambda: bench.to_judge(_JUDGED),
            lambda: bench.new("dino"),
        )
        for _ in bench.in_turn("dino", of=1)  # two minutes each
    ]
    beyond_one = [one["predict_s"] / one["backbone_s"] - 1 for one in found]
    beyond_all = [one["predict_s"] / one["all_sizes_s"] - 1 for one in found]
    backbone_ms = Spread.of([one["backbone_s"] / _JUDGED * 1000 for one in found])
    return [
        Row(
            "DINOv2-base at 518 px, predict's seconds beyond the backbone's, share of them",
            Spread.of(beyond_one),
            "",
            _OVERHEAD,
            least=False,
            note=f"{_JUDGED} images, loaded and warm",
        ),
        Row(
            "the same beyond the backbone's at both sizes that the model sees",
            Spread.of(beyond_all),
            "",
        ),
        Row("DINOv2-base at 518 px, backbone in torch", backbone_ms, "ms/image"),
        Row(
            "DINOv2-base at 518 px, fitted model",
            Spread.of([one["model_mb"] for one in found]),
            "MB",
            _LARGEST_MB,
            least=False,
        ),
    ]


def save_checkpoint(folder: Path) -> None:
    import torch
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    # The sizes of DINOv2-base are transformers' defaults, but for the images it was last trained on.
    Dinov2Model(Dinov2Config(image_size=_SIDE, patch_size=14)).save_pretrained(folder)


def overhead(model: str, checkpoint: str, images: str, out: str) -> None:
    """Seconds from files to verdicts and maps, and of the backbone alone on as many frames."""
    import torch

    from anomalyvfm.detector import Detector
    from anomalyvfm.features import backbones
    from anomalyvfm.predictions.writing import write_predictions

    paths = sorted(Path(images).iterdir())
    detector = Detector.load(model)
    backbone = backbones.load(checkpoint, layers=detector.describe()["backbone"]["layers"])
    # Two at once, which takes less time than one or eight.
    views = [
        torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8) for size in detector.describe()["sizes_seen"]
    ]

    def alone() -> list[float]:
        seconds = []
        for frames in views:
            started = time.perf_counter()
            for first in range(0, len(paths), len(frames)):
                backbone(frames[: len(paths) - first])
            seconds.append(time.perf_counter() - started)
        return seconds

    list(detector.judge(paths[:1]))
    alone()
    # One half before and one after, so that a machine that slows down or speeds up counts for both.
    before = alone()
    started = time.perf_counter()
    write_predictions(detector, paths, Path(out))
    predict_s = time.perf_counter() - started
    of_sizes = [(one + other) / 2 for one, other in zip(before, alone(), strict=True)]
    found = {
        "predict_s": predict_s,
        "backbone_s": of_sizes[0],
        "all_sizes_s": sum(of_sizes),
        "model_mb": sum(file.stat().st_size for file in Path(model).iterdir()) / 1e6,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "checkpoint":
        save_checkpoint(Path(sys.argv[2]))
    else:
        overhead(*sys.argv[2:])
