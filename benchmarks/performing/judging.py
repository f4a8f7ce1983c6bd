"""`predict` from files to verdicts and maps: every system on the same lists of images, in turn.

Ours writes a line and a picture for every image. anomalib's engine hands its verdicts and maps over in memory
and writes nothing; with its pictures, as is its default, it is timed on the longer list too. Its OpenVINO
inferencer and AnomaVision's `detect` write nothing either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from performing.anomalib_commands import Anomalib
from performing.anomavision_commands import AnomaVision
from performing.bench import Bench
from performing.process_tree import Run
from performing.rows import Row, Spread, marginal_rates, ratios

_ENGINE, _PICTURES = "anomalib PaDiM, engine", "anomalib PaDiM, engine, its pictures written"
_INFERENCER = "anomalib PaDiM, its OpenVINO export"
_TARGETS = {_ENGINE: 6.0, _INFERENCER: 1.5}
_LARGEST_MB = 1000.0
_SHARE_OF_BACKBONE = 0.75
_BACKBONE_SECONDS = "16"

Contestant = Callable[[Path], Run]
Rounds = dict[str, dict[int, list[Run]]]
"""Runs by contestant and length of the list, a run a round."""


def judging(bench: Bench) -> list[Row]:
    vision = AnomaVision(bench)
    anomavision = f"AnomaVision PaDiM, {vision.backend}"
    ours: dict[str, Contestant] = {
        f"ours, {name}": partial(_ours, bench, model) for name, model in bench.ways.items()
    }
    peers: dict[str, Contestant] = {
        **_anomalib(bench),
        anomavision: partial(vision.detect, vision.backend),
    }
    batch = json.loads((bench.model / "model.json").read_text(encoding="utf-8"))["settings"]["batch"]
    runs: Rounds = {name: {size: [] for size in bench.sizes} for name in (*ours, *peers)}
    bare = []
    for _ in range(bench.rounds):
        for size in bench.sizes:
            for name, contestant in {**ours, **peers}.items():
                if name != _PICTURES or size == max(bench.sizes):
                    runs[name][size].append(contestant(bench.to_judge(size)))
        found = bench.child("predict", "bare_backbone", str(batch), _BACKBONE_SECONDS)
        bare.append(max(found["images_per_s"].values()))
    targets = {**_TARGETS, anomavision: 1.5}
    return [
        *_beside_peers(runs, list(ours), list(peers), max(bench.sizes), targets),
        *_beside_backbone(runs, list(ours), bare, bench.sizes),
        *_each(runs, bench.sizes),
        *_multiply_adds(bench, vision),
    ]


def _ours(bench: Bench, model: Path, images: Path) -> Run:
    name = f"ours, {model.name}, {images.name}"
    return bench.run("predict", name, bench.predict_command(model, images, bench.new("verdicts")))


def _anomalib(bench: Bench) -> dict[str, Contestant]:
    anomalib = Anomalib(bench)

    def predict(images: Path) -> Run:
        command = anomalib.predict(images, bench.new("anomalib"))
        return bench.run("predict", f"{_ENGINE}, {images.name}", command)

    def predict_pictures(images: Path) -> Run:
        command = anomalib.predict(images, bench.new("anomalib"), pictures=True)
        return bench.run("predict", f"{_PICTURES}, {images.name}", command)

    def infer(images: Path) -> Run:
        return bench.run("predict", f"{_INFERENCER}, {images.name}", anomalib.infer(images))

    return {_ENGINE: predict, _PICTURES: predict_pictures, _INFERENCER: infer}


def _beside_peers(
    runs: Rounds, ours: list[str], peers: list[str], size: int, targets: Mapping[str, float]
) -> list[Row]:
    """Seconds of each peer over each of our ways', whole processes on the longer list."""
    return [
        Row(
            f"predict {size} images, {peer} over {mine}",
            ratios([run.wall_s for run in runs[peer][size]], [run.wall_s for run in runs[mine][size]]),
            "×",
            targets.get(peer),
        )
        for peer in peers
        for mine in ours
    ]


def _beside_backbone(runs: Rounds, ours: list[str], bare: list[float], sizes: tuple[int, int]) -> list[Row]:
    rates = {mine: _rates(runs[mine], sizes) for mine in ours}
    return [
        Row(
            "bare backbone in OpenVINO, fp32, in predict's batches or image by image",
            Spread.of(bare),
            "images/s",
        ),
        *(
            Row(
                f"predict beyond start-up, {mine}, share of the bare backbone",
                ratios(rates[mine], bare),
                "",
                _SHARE_OF_BACKBONE,
            )
            for mine in ours
        ),
    ]


def _each(runs: Rounds, sizes: tuple[int, int]) -> list[Row]:
    rows = []
    for name, by_size in runs.items():
        longest = by_size[max(sizes)]
        rows.append(
            Row(
                f"predict {max(sizes)} images, {name}",
                Spread.of([max(sizes) / run.wall_s for run in longest]),
                "images/s",
                note="whole process",
            )
        )
        if by_size[min(sizes)]:
            rows.append(
                Row(f"predict beyond start-up, {name}", Spread.of(_rates(by_size, sizes)), "images/s")
            )
        rows.append(
            Row(
                f"predict, CPU, {name}",
                Spread.of([run.cpu_s / max(sizes) * 1000 for run in longest]),
                "ms/image",
            )
        )
        target = _LARGEST_MB if name.startswith("ours") else None
        rows.append(
            Row(
                f"predict, peak memory, {name}",
                Spread.of([run.peak_mb for run in longest]),
                "MB",
                target,
                least=False,
            )
        )
    return rows


def _rates(by_size: dict[int, list[Run]], sizes: tuple[int, int]) -> list[float]:
    small, large = min(sizes), max(sizes)
    small_s, large_s = ([run.wall_s for run in by_size[size]] for size in (small, large))
    return marginal_rates(small, small_s, large, large_s)


def _multiply_adds(bench: Bench, vision: AnomaVision) -> list[Row]:
    counts = {
        "ours, EfficientNet-Lite0 to stage 5": bench.child("predict", "multiply_adds")["count"],
        "AnomaVision's, ResNet-18 to its second stage": vision.multiply_adds(),
    }
    return [
        Row(
            f"backbone's multiply-adds for an image, {name}",
            Spread.of([count / 1e6]),
            "million",
            note="counted",
        )
        for name, count in counts.items()
    ]
