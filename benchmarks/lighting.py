"""What light that was never learned costs: `make bench-lighting`, v2 on the eight generated categories.

    python benchmarks/lighting.py [--set gaussian.light_share=0]

60 good images in regular light are learned; 20 good and 20 spoilt products are judged in each of five lights.
Image AUROC within each light, its loss from the regular to the mean of the others, AUROC over all lights at
once (one threshold for all), and the share of good images in other light that are rejected at a promised 1 %.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from anomalyvfm.data.generated import CATEGORIES, CONDITIONS
from anomalyvfm.detector import Detector
from anomalyvfm.features import backbones
from anomalyvfm.presets import preset
from trialing.material import material
from trialing.running import auroc


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "anomalyvfm-trials")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    options = parser.parse_args()
    overrides = {"backbone": "efficientnet-lite0", **dict(text.split("=", 1) for text in options.settings)}
    backbone = backbones.load("efficientnet-lite0", detail=preset("v2").override(overrides).detail)
    columns = ("data", *CONDITIONS, "loss", "all lights", "false alarms, other light")
    print("| " + " | ".join(columns) + " |")
    print("|---" * len(columns) + "|")
    rows = []
    for name in CATEGORIES:
        found = material(name, Path(), options.cache)
        learned, tested = found.split(0)
        detector = Detector("v2", overrides, backbone=backbone).fit([found.paths[i] for i in learned])
        scores = np.array([verdict.score for verdict in detector.predict([found.paths[i] for i in tested])])
        label, light = found.label[tested], found.condition[tested]
        within = [auroc(label[light == one], scores[light == one]) for one in CONDITIONS]
        good_elsewhere = scores[(label == 0) & (light != "regular")]
        alarms = float((good_elsewhere > detector.calibration_.threshold).mean())
        rows.append([*within, within[0] - float(np.mean(within[1:])), auroc(label, scores), alarms])
        _print(name, rows[-1])
    _print("mean", np.mean(rows, axis=0).tolist())


def _print(name: str, values: list[float]) -> None:
    print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |", flush=True)


if __name__ == "__main__":
    main()
