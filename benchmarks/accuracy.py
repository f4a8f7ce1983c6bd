"""Accuracy of the default pipeline on real images: `make bench` prints the table, averages over seeds.

    python benchmarks/accuracy.py [--magnetic-tile ../shared/data/magnetic_tile] [--seeds 3] [--set key=value]

A seed decides which good images are learned. elpv is split by it, 70 % of the functional cells to learn from;
magnetic_tile has splits of its own, so there each seed learns a random 90 % of the training images.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from anomalyvfm.data import Category, open_dataset
from anomalyvfm.detector import Detector
from anomalyvfm.evaluation.evaluate import evaluate

ELPV = ("elpv-mono", "elpv-poly")
REAL = ("magnetic_tile", *ELPV)
METRICS = ("image_auroc", "pixel_auroc", "aupro_0.30", "aupro_0.05", "class_f1", "false_alarm_rate")


def open_split(name: str, magnetic_tile: Path, seed: int) -> Category:
    """The data set with the good images that a seed learns; any other name is that of the folder given."""
    if name in ELPV:
        return open_dataset(name, seed=seed)
    tiles = open_dataset(magnetic_tile)
    kept = np.random.default_rng(seed).permutation(len(tiles.train))[: int(0.9 * len(tiles.train))]
    return replace(tiles, train=tuple(tiles.train[i] for i in sorted(kept)))


def datasets(magnetic_tile: Path, seed: int) -> Iterator[Category]:
    for name in REAL:
        if name in ELPV or magnetic_tile.is_dir():
            yield open_split(name, magnetic_tile, seed)
        else:
            print(f"{magnetic_tile} is not there: left out", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--magnetic-tile", type=Path, default=Path("../shared/data/magnetic_tile"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--json", type=Path, help="also write every number here")
    options = parser.parse_args()
    overrides = {"backbone": options.backbone, **dict(text.split("=", 1) for text in options.settings)}

    results: dict[str, list[dict[str, float]]] = {}
    for seed in range(options.seeds):
        for category in datasets(options.magnetic_tile, seed):
            detector = Detector("v2", overrides, seed=seed).fit(category)
            metrics = evaluate(detector, category).metrics
            results.setdefault(category.name, []).append({m: metrics[m] for m in METRICS})
            print(f"seed {seed} {category.name}: image AUROC {metrics['image_auroc']:.4f}", file=sys.stderr)
    print(f"{options.backbone}, {options.seeds} seeds: mean (lowest to highest)")
    print("| data | " + " | ".join(METRICS) + " |")
    print("|---" * (1 + len(METRICS)) + "|")
    for name, runs in results.items():
        print(f"| {name} | " + " | ".join(_cell([run[metric] for run in runs]) for metric in METRICS) + " |")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _cell(values: list[float]) -> str:
    if any(value is None for value in values):
        return "no masks"
    return f"{np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


if __name__ == "__main__":
    main()
