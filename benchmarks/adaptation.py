"""What training an adapter adds to a fit: `make bench-adaptation`.

The whole fit of v1.1 with the embedded backbone, over the bare feature pass: reading the same good images,
and the same synthetic ones made beforehand, through the same backbone, with nothing learned from them. One
process does both in turn, several times, and they are compared within a round, since machines drift. Seconds
of CPU are compared beside those of the clock: they hold on a machine that others use too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from anomalyvfm.adapted.adaptation import GoodImages
from anomalyvfm.adapted.plans import orders_for, scales_of
from anomalyvfm.data import ImageSource
from anomalyvfm.data.datasets.listing import list_images
from anomalyvfm.detector import Detector
from anomalyvfm.features import backbones
from anomalyvfm.features.extractor import Extractor
from anomalyvfm.presets import AdaptedPreset, preset
from anomalyvfm.synthesis import synthesize


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "images", nargs="?", type=Path, default=Path("../shared/data/magnetic_tile/train/good")
    )
    parser.add_argument("--preset", default="v1.1")
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    settings = preset(options.preset).override(
        {"backbone": options.backbone, "image.size": options.image_size}
    )
    assert isinstance(settings, AdaptedPreset)
    backbone = backbones.load(settings.backbone)
    paths: list[ImageSource] = [*list_images(options.images)[: options.count]]
    first = Detector(settings, backbone=backbone).fit(paths[:8])  # warm, and it knows the frame
    good = GoodImages(first.frame_, settings.image, paths)
    synthetic = [one.image for one in synthesize(good, orders_for(settings, "medium", 0))]
    scales = scales_of(settings.name)
    extractor = Extractor(backbone, first.frame_, settings.image, settings.batch, scales, stacked=True)

    rounds = []
    for number in range(options.rounds):
        started, worked = time.perf_counter(), time.process_time()
        passed = sum(len(batch.images) for batch in extractor.extract([*paths, *synthetic]))
        features, features_cpu = time.perf_counter() - started, time.process_time() - worked
        started, worked = time.perf_counter(), time.process_time()
        detector = Detector(settings, backbone=backbone).fit(paths)
        fit, fit_cpu = time.perf_counter() - started, time.process_time() - worked
        training = detector.pipeline_.describe()["adaptation"]["seconds"]
        rounds.append((fit / features, fit_cpu / features_cpu, training / features))
        print(
            f"round {number + 1}: {passed} images' features {features:.1f} s (CPU {features_cpu:.1f} s), fit"
            f" {fit:.1f} s (CPU {fit_cpu:.1f} s; training {training:.1f} s), ratio {fit / features:.2f}"
            f" (CPU {fit_cpu / features_cpu:.2f})",
            flush=True,
        )
    ratios, cpu_ratios, shares = zip(*rounds, strict=True)
    print(
        f"{options.preset}, {len(paths)} images at {options.image_size} px: fit over feature pass, median"
        f" {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), in CPU seconds"
        f" {statistics.median(cpu_ratios):.2f} ({min(cpu_ratios):.2f} to {max(cpu_ratios):.2f});"
        f" training over feature pass {statistics.median(shares):.3f}"
    )


if __name__ == "__main__":
    main()
