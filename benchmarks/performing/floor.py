"""Milliseconds an image of each step of `predict`, beside the least that the machine allows.

    python -m performing.floor MODEL FOLDER

The floors: decoding is Pillow's alone; the backbone's is its multiply-adds at the rate of a large matrix
product; the scorer's is reading what the model has learned once a batch, at the rate at which memory is read;
a picture's is Pillow's encoding of it. Steps are taken one after the other here; `predict` overlaps them.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from performing.rows import Row, Spread

if TYPE_CHECKING:
    from performing.bench import Bench

_GEMM = 1024
_READ_BYTES = 2**28
_REPEATS = 7
_FIGURES = {
    "numpy_gflops": ("matrix product of 1024³ in float32, numpy", "GFLOP/s"),
    "torch_gflops": ("matrix product of 1024³ in float32, torch", "GFLOP/s"),
    "read_gb_s": ("reading memory, 256 MiB", "GB/s"),
    "multiply_adds_million": ("backbone's multiply-adds for an image", "million"),
    "statistics_mb": ("what the scorer has learned", "MB"),
}


def floor(bench: Bench) -> list[Row]:
    found = [
        bench.child("floor", "steps", "floor", bench.model, lambda: bench.to_judge(min(bench.sizes)))
        for _ in bench.in_turn("floor")
    ]
    rows = []
    for name in found[0]:
        label, unit = _FIGURES.get(name, (name, "ms/image"))
        rows.append(Row(label, Spread.of([one[name] for one in found]), unit))
    return rows


def fastest_s(work: Callable[[], object], repeats: int = _REPEATS) -> float:
    """Seconds of the fastest of several calls: a floor is what nothing disturbed."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def machine() -> dict[str, float]:
    import numpy as np
    import torch

    a = np.random.default_rng(0).random((_GEMM, _GEMM), np.float32)
    t, many = torch.from_numpy(a), torch.ones(_READ_BYTES // 4)
    operations = 2 * _GEMM**3
    return {
        "numpy_gflops": operations / fastest_s(lambda: a @ a) / 1e9,
        "torch_gflops": operations / fastest_s(lambda: t @ t) / 1e9,
        "read_gb_s": _READ_BYTES / fastest_s(many.sum) / 1e9,
    }


def steps(model: str, folder: str) -> dict[str, float]:
    import numpy as np
    import torch
    from PIL import Image

    from anomalyvfm.data import read_source
    from anomalyvfm.decision.verdict import Verdict
    from anomalyvfm.detector import Detector
    from anomalyvfm.features import backbones
    from anomalyvfm.visual.panels import draw_sheet
    from anomalyvfm.visual.pictures import save_picture
    from performing.multiply_adds import backbone_multiply_adds

    rates = machine()
    detector = Detector.load(model)
    batch = detector.together
    paths = list(islice(cycle(sorted(Path(folder).iterdir())), batch))
    layers = detector.describe()["backbone"]["layers"]
    detail = detector.settings.detail
    in_torch, backbone = (
        backbones.load(detector.settings.backbone, layers=layers, device=device, detail=detail)
        for device in ("cpu", "auto")
    )
    extractor = detector.pipeline_.extractor
    placed = [extractor.place(path).views for path in paths]
    scales = [torch.from_numpy(np.stack(views)) for views in zip(*placed, strict=True)]
    features = next(extractor.extract(paths)).features
    assert features is not None
    judged = [verdict for _, verdict in detector.judge(paths) if isinstance(verdict, Verdict)]
    images = [read_source(path, detector.settings.image) for path in paths]
    statistics = sum(tensor.nbytes for tensor in detector.pipeline_.scorer.to_tensors().values())
    count = backbone_multiply_adds()

    def ms(work: Callable[[], Any]) -> float:
        return fastest_s(work) / batch * 1000

    def draw(folder: Path) -> None:
        for number, (image, verdict) in enumerate(zip(images, judged, strict=True)):
            save_picture(draw_sheet(image, verdict), folder / f"{number}.jpg")

    def encode(folder: Path) -> None:
        for picture in pictures:
            picture.save(folder / "one.jpg", format="JPEG")

    pictures = [Image.fromarray(draw_sheet(*pair)) for pair in zip(images, judged, strict=True)]
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        return {
            **rates,
            "multiply_adds_million": count / 1e6,
            "statistics_mb": statistics / 1e6,
            "reading": ms(lambda: [extractor.place(path) for path in paths]),
            "reading, least": ms(lambda: [Image.open(path).convert("RGB").load() for path in paths]),
            "backbone, at all scales": ms(lambda: [backbone(views) for views in scales]),
            "backbone in torch, at all scales": ms(lambda: [in_torch(views) for views in scales]),
            "backbone at the largest scale, least": 2
            * count
            / max(rates["torch_gflops"], rates["numpy_gflops"])
            / 1e6,
            "scorer": ms(lambda: detector.pipeline_.scorer.distances(features).numpy()),
            "scorer, least": statistics / rates["read_gb_s"] / 1e6 / batch,
            "picture": ms(lambda: draw(place)),
            "picture, least": ms(lambda: encode(place)),
        }


if __name__ == "__main__":
    print(json.dumps(steps(*sys.argv[1:])))
