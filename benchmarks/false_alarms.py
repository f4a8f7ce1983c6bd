"""Is the promised false-alarm rate kept? `make bench-false-alarms`: random splits of good images.

    python benchmarks/false_alarms.py [--data pcb,elpv-mono] [--splits 20] [--learned 0.6,60]

Each split learns a random part of a data set's good images (60 %, and 60 images) and counts how many of the
others are called anomalous at a promised 1 % and 5 %. No image calibrates but those learned. Photographs
near each other (`groups_of`: magnetic_tile has six of each tile) are all learned or all unseen. Counts are
held against two 95 % bands: that of a binomial with the promised rate, and the wider one of a conformal
threshold, which is itself drawn with the groups that calibrate. A promise is kept where at least 90 % of
the splits lie inside the binomial band and the average rate is not above what was promised. Where too few
images are learned for a rate, the model promises nothing, and the table says so. Splits run in processes of
one core each, in which each image goes through the backbone once. A split's counts are written as soon as
they are there, under --cache, and not counted again until images, settings or code change: a run that was
stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from anomalyvfm.data import InputFrame, Sample
from anomalyvfm.detector import Detector
from anomalyvfm.features import backbones
from anomalyvfm.features.backbones.remembering import RememberingBackbone
from anomalyvfm.features.extractor import Extractor
from anomalyvfm.features.grouping import groups_of, placed_features
from anomalyvfm.presets import preset
from kept_rows import keep, kept, key, measured_sources
from promise_bands import binomial_band, conformal_band
from splits import CACHE, SHARED, names, open_whole

RATES = (0.01, 0.05)
_LEAST_UNSEEN = 15
_SIDE = 256  # pixels of the images that are compared

# Of a process that counts, set by `_begin`.
_paths: list[Path]
_alike: list[list[int]]
_backbone: RememberingBackbone
_overrides: dict[str, object]


@dataclass(frozen=True)
class Count:
    """False alarms of one split at one promised rate."""

    data: str
    learned: int
    split: int
    rate: float
    promised: bool
    calibrating: int
    unseen: int
    alarms: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="real", help="real, generated, or some of their data sets")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument(
        "--learned", type=_parts, default=(0.6, 60.0), metavar="N,...", help="images, or a share below 1"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--shared", type=Path, default=SHARED, help="where pcb, magnetic_tile, cookies lie")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--json", type=Path, help="also write every count here")
    options = parser.parse_args()
    overrides = {
        "backbone": "efficientnet-lite0",
        **dict(text.split("=", 1) for text in options.settings),
    }
    counts: list[Count] = []
    for name in names(options.data):
        images = good_images(name, options.shared, options.cache)
        learned = [round(part * len(images) if part < 1 else part) for part in options.learned]
        learned = [number for number in learned if number + _LEAST_UNSEEN <= len(images)]
        started = time.perf_counter()
        counts += observe(
            name, images, learned, options.splits, overrides, options.processes, options.cache / "alarms"
        )
        print(f"{name}: {len(images)} images, {time.perf_counter() - started:.0f} s", file=sys.stderr)
    print(table(counts))
    if options.json:
        options.json.write_text(
            json.dumps([vars(count) for count in counts], indent=2) + "\n", encoding="utf-8"
        )


def _parts(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def good_images(name: str, shared: Path, cache: Path) -> list[Sample]:
    """All good images of a data set."""
    category = open_whole(name, shared, cache)
    return [one for one in (*category.train, *category.validation, *category.test) if not one.label]


def observe(
    name: str,
    images: Sequence[Sample],
    learned: Sequence[int],
    splits: int,
    overrides: dict[str, object],
    processes: int,
    folder: Path,
) -> list[Count]:
    """The counts of all splits, for every number of images learned and every rate."""
    asked = [(split, number) for number in learned for split in range(splits)]
    paths = [sample.path for sample in images]
    sources = measured_sources()
    about = [name, "by group", overrides]
    files = {one: folder / f"{key([*about, *one], sources, images)}.json" for one in asked}
    missing = [one for one in asked if not files[one].exists()]
    with tempfile.TemporaryDirectory(prefix="anomalyvfm-") as scratch:
        begin = (paths, alike(paths, overrides) if missing else [], scratch, overrides)
        pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin, begin)
        with pool:
            for one in [pool.submit(_count, *one, files[one]) for one in missing]:
                one.result()
    counts = (Count(**count) for one in asked for count in kept(files[one])["counts"])
    return [replace(count, data=name) for count in counts]


def alike(paths: Sequence[Path], overrides: dict[str, object]) -> list[list[int]]:
    """The numbers of the images of each group."""
    settings = preset("v2").override(overrides)
    backbone = backbones.load(settings.backbone)
    extractor = Extractor(backbone, InputFrame(_SIDE, _SIDE), settings.image, settings.batch)
    placed = [
        placed_features(batch.features.patches).cpu().numpy()
        for batch in extractor.extract(paths)
        if batch.features is not None
    ]
    labels = groups_of(np.concatenate(placed), range(len(paths)), [None] * len(paths))
    return [np.flatnonzero(labels == label).tolist() for label in range(labels.max() + 1)]


def _begin(paths: list[Path], groups: list[list[int]], scratch: str, overrides: dict[str, object]) -> None:
    """What a process keeps from split to split."""
    global _paths, _alike, _backbone, _overrides
    torch.set_num_threads(1)
    _paths, _alike = paths, groups
    loaded = backbones.load(str(overrides["backbone"]), detail=preset("v2").override(overrides).detail)
    _backbone = RememberingBackbone(loaded, Path(scratch, f"features-{os.getpid()}"))
    _overrides = overrides


def _count(split: int, learned: int, file: Path) -> None:
    """Write one split's counts at all rates: one fit serves them, thresholds are read off the same scores."""
    started = time.perf_counter()
    rows: list[int] = []
    others: list[int] = []
    for group in np.random.default_rng(split).permutation(len(_alike)).tolist():
        (rows if len(rows) < learned else others).extend(_alike[group])
    detector = Detector("v2", _overrides, seed=split, backbone=_backbone)
    detector.fit([_paths[row] for row in rows])
    scores = np.array([verdict.score for verdict in detector.predict([_paths[row] for row in others])])
    found = []
    for rate in RATES:
        calibration = replace(detector.calibration_, false_alarm_rate=rate)
        found.append(
            Count(
                data="",
                learned=learned,
                split=split,
                rate=rate,
                promised=calibration.promised,
                calibrating=calibration.independent,
                unseen=len(scores),
                alarms=int((scores > calibration.threshold).sum()),
                seconds=time.perf_counter() - started,
            )
        )
    print(f"split {split}: {learned} learned, {[count.alarms for count in found]} alarms", file=sys.stderr)
    keep(file, {"counts": [vars(count) for count in found]})


def table(counts: Sequence[Count]) -> str:
    """Markdown: a row for each data set, number of images learned, and promised rate."""
    groups: dict[tuple[str, int, float], list[Count]] = {}
    for count in counts:
        groups.setdefault((count.data, count.learned, count.rate), []).append(count)
    lines = [
        "| data | learned | unseen | promised | observed, average (lowest to highest) |"
        " binomial band: inside | below | above | conformal band: inside | below | above | kept |",
        "|---" * 12 + "|",
    ]
    for (data, learned, rate), group in groups.items():
        unseen = round(np.mean([count.unseen for count in group]))
        rates = [count.alarms / count.unseen for count in group]
        sides = [binomial_band(count.unseen, rate).side(count.alarms) for count in group]
        bands = [conformal_band(count.unseen, rate, count.calibrating) for count in group]
        conformal = [band.side(count.alarms) for band, count in zip(bands, group, strict=True) if band]
        promised = all(count.promised for count in group)
        kept = ("yes" if holds(sides, rates, rate) else "no") if promised else "–"
        promise = f"{rate:.0%}" if promised else f"{rate:.0%}, not promised"
        lines.append(
            f"| {data} | {learned} | {unseen} | {promise} | {np.mean(rates):.2%}"
            f" ({min(rates):.2%} to {max(rates):.2%}) | {_shares(sides)} | {_shares(conformal)} | {kept} |"
        )
    return "\n".join(lines)


def holds(sides: Sequence[int], rates: Sequence[float], promised: float) -> bool:
    """At least 90 % of the splits inside the band, and the average rate not above the promise."""
    return sides.count(0) >= 0.9 * len(sides) and float(np.mean(rates)) <= promised


def _shares(sides: Sequence[int]) -> str:
    if not sides:
        return "– | – | –"
    return " | ".join(f"{sides.count(side) / len(sides):.0%}" for side in (0, -1, 1))


if __name__ == "__main__":
    main()
