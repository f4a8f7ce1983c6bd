"""`predict` from files to verdicts: every system on the same lists of images, in turn.

Ours writes a line for every image, and on its own account again with a picture for each. anomalib's engine
hands its verdicts and maps over in memory and writes nothing; with its pictures, as is its default, it is
timed once on the longer list. Its OpenVINO inferencer, AnomaVision's `detect` and pyimgano write nothing
either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from performing.anomalib_commands import Anomalib
from performing.anomavision_commands import COMPLAINT, AnomaVision
from performing.bench import Bench
from performing.process_tree import Run
from performing.pyimgano_commands import Pyimgano
from performing.rows import Row, Spread, marginal_rates, ratios

_ENGINE, _PICTURES = "anomalib PaDiM, engine", "anomalib PaDiM, engine, its pictures written"
_INFERENCER, _PYIMGANO = "anomalib PaDiM, its OpenVINO export", "pyimgano PatchCore"
_TARGETS = {_ENGINE: 6.0, _INFERENCER: 1.5}
_LARGEST_MB = 1000.0
_SHARE_OF_BACKBONE, _SHARE_WITH_PICTURES = 0.75, 0.45
_BACKBONE_SECONDS, _BATCH = "16", "32"

Contestant = Callable[[Path], Sequence[str | Path]]
"""From a folder of images to the command that judges them."""
Rounds = dict[str, dict[int, list[Run]]]
"""Runs by contestant and length of the list, a run a round."""


def judging(bench: Bench) -> list[Row]:
    vision = AnomaVision(bench)
    anomavision = f"AnomaVision PaDiM, {vision.backend}"
    plain = {f"ours, {way}": partial(_ours, bench, model, "none") for way, model in bench.ways().items()}
    drawn = {
        f"ours, {way}, a picture each": partial(_ours, bench, model, "all")
        for way, model in bench.ways().items()
    }
    anomalib, pyimgano = Anomalib(bench), Pyimgano(bench)
    peers: dict[str, Contestant] = {
        _ENGINE: anomalib.predict,
        _INFERENCER: anomalib.infer,
        anomavision: partial(vision.detect, vision.backend),
    }
    everyone: dict[str, Contestant] = {**plain, **drawn, **peers}
    runs: Rounds = {name: {size: [] for size in bench.sizes} for name in everyone}
    bare = []
    for _ in bench.in_turn("predict"):
        for size in bench.sizes:
            for name, contestant in everyone.items():
                runs[name][size].append(_run(bench, name, contestant, size))
        rates = bench.child(
            "predict", "bare backbone", "bare_backbone", lambda: _BATCH, lambda: _BACKBONE_SECONDS
        )
        bare.append(max(rates["images_per_s"].values()))
    # Slow, and with nothing to prove: once, on few images.
    few, many = bench.sizes
    once: dict[str, tuple[Contestant, int]] = {
        _PICTURES: (partial(anomalib.predict, pictures=True), many),
        _PYIMGANO: (pyimgano.predict, few),
    }
    for name, (contestant, size) in once.items():
        runs[name] = {size: [_run(bench, name, contestant, size)]}
    targets = {**_TARGETS, anomavision: 1.5}
    return [
        *_beside_peers(runs, list(plain), list(peers), many, targets),
        *_beside_backbone(runs, list(plain), bare, _SHARE_OF_BACKBONE),
        *_beside_backbone(runs, list(drawn), bare, _SHARE_WITH_PICTURES),
        Row("bare backbone, OpenVINO in fp32, batches of 32 or one by one", Spread.of(bare), "images/s"),
        *_each(runs),
        *_multiply_adds(bench, vision),
    ]


def _ours(bench: Bench, model: Callable[[], Path], maps: str, images: Path) -> Sequence[str | Path]:
    return bench.predict_command(model(), images, maps)


def _run(bench: Bench, name: str, contestant: Contestant, size: int) -> Run:
    return bench.run(
        "predict", f"{name}, {size}", lambda: contestant(bench.to_judge(size)), complaint=COMPLAINT
    )


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


def _beside_backbone(runs: Rounds, ours: Sequence[str], bare: Sequence[float], target: float) -> list[Row]:
    return [
        Row(
            f"predict beyond start-up, {mine}, share of the bare backbone",
            ratios(_rates(runs[mine]), bare),
            "",
            target,
        )
        for mine in ours
    ]


def _each(runs: Rounds) -> list[Row]:
    rows = []
    for name, by_size in runs.items():
        size = max(by_size)
        longest = by_size[size]
        rates = Spread.of([size / run.wall_s for run in longest])
        rows.append(Row(f"predict {size} images, {name}", rates, "images/s", note="whole process"))
        if len(by_size) > 1:
            rows.append(Row(f"predict beyond start-up, {name}", Spread.of(_rates(by_size)), "images/s"))
        cpu = Spread.of([run.cpu_s / size * 1000 for run in longest])
        rows.append(Row(f"predict, CPU, {name}", cpu, "ms/image"))
        peaks = Spread.of([run.peak_mb for run in longest])
        target = _LARGEST_MB if name.startswith("ours") else None
        rows.append(Row(f"predict, peak memory, {name}", peaks, "MB", target, least=False))
    return rows


def _rates(by_size: dict[int, list[Run]]) -> list[float]:
    small, large = by_size
    small_s, large_s = ([run.wall_s for run in runs] for runs in by_size.values())
    return marginal_rates(small, small_s, large, large_s)


def _multiply_adds(bench: Bench, vision: AnomaVision) -> list[Row]:
    ours = bench.child("predict", "multiply-adds of our backbone", "multiply_adds")
    theirs = bench.run_for_json("predict", "multiply-adds of AnomaVision's backbone", vision.multiply_adds)
    counts = {
        "ours, EfficientNet-Lite0 to stage 5": ours["count"],
        "AnomaVision's, ResNet-18 to its second stage": theirs["count"],
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
