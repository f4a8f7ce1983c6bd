"""Our AU-PRO against anomalib's and the published definition: values, speed ratio, memory.

    python benchmarks/metrics.py [--data magnetic_tile] [--repeats 3]

The maps are made from the data set's real masks: blurred defects of random strength on a smooth background
with noise, at 256 × 256, as a detector's maps are. Both systems get the same arrays, in turn, in one run.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from anomalyvfm.metrics.pixel import PixelMetrics
from peers import peer_python

Maps = NDArray[np.float32]
Masks = NDArray[np.bool_]

SIDE = 256
LIMITS = (0.30, 0.05)
FULL_SIZE, FULL_COUNT = (2048, 2448), 100  # MVTec AD 2's larger images

# Runs in anomalib's environment. Loading is not timed; each limit is one metric, as anomalib has it.
ANOMALIB = """
import json, sys, time
import numpy as np, torch
from anomalib.metrics.aupro import _AUPRO
maps, masks = (torch.from_numpy(np.load(path)) for path in sys.argv[1:3])
masks = masks.int()
seconds, cpu, values = [], time.process_time(), []
for limit in map(float, sys.argv[3:]):
    start = time.perf_counter()
    metric = _AUPRO(fpr_limit=limit)
    for first in range(0, len(maps), 32):
        metric.update(maps[first:first + 32], masks[first:first + 32])
    values.append(float(metric.compute()))
    seconds.append(time.perf_counter() - start)
print(json.dumps({"seconds": seconds, "cpu": time.process_time() - cpu, "values": values}))
"""


def made_maps(data: Path) -> tuple[Maps, Masks]:
    """Maps and masks (N, 256, 256) for every test image of a folder in the MVTec AD 2 layout."""
    rng = np.random.default_rng(0)
    truth = sorted((data / "test_public/ground_truth/bad").iterdir())
    n_good = len(list((data / "test_public/good").iterdir()))
    if not truth:
        raise SystemExit(f"no masks under {data}: name a folder in the MVTec AD 2 layout with --data")
    masks = np.zeros((len(truth) + n_good, SIDE, SIDE), bool)
    for mask, path in zip(masks, truth, strict=False):
        with Image.open(path) as image:
            mask[:] = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.NEAREST)) > 0
    maps = np.empty(masks.shape, np.float32)
    for map_, mask in zip(maps, masks, strict=True):
        background = ndimage.zoom(rng.gamma(4, 0.25, (SIDE // 8, SIDE // 8)), 8, order=1)
        defect = ndimage.gaussian_filter(mask.astype(np.float32), 4) * rng.gamma(2, 1.5)
        map_[:] = background + defect + rng.normal(scale=0.02, size=mask.shape)
    return maps, masks


def ours(maps: Maps, masks: Masks) -> tuple[float, float, list[float], float]:
    """Seconds and CPU seconds for both limits, their values, and the larger bound."""
    start, cpu = time.perf_counter(), time.process_time()
    pixels = PixelMetrics()
    for map_, mask in zip(maps, masks, strict=True):
        pixels.add(map_, mask, anomalous=bool(mask.any()))
    metrics = [pixels.aupro(limit) for limit in LIMITS]
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return seconds, cpu, [m.value or 0.0 for m in metrics], max(m.bound for m in metrics)


def published(maps: Maps, masks: Masks) -> list[float]:
    """AU-PRO as the public MVTec AD evaluation defines it, in float64 over all pixels, sorted once.

    Each pixel, from the highest score down, raises the false-positive rate by 1 / anomaly-free pixels or the
    overlap by 1 / (its region's area * regions). Points between equal scores are no thresholds and go.
    """
    overlap = np.zeros(maps.shape)
    regions = 0
    for rise, mask in zip(overlap, masks, strict=True):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        area = np.bincount(labels.ravel())
        rise[mask] = 1 / area[labels[mask]]
        regions += count
    order = np.argsort(-maps.ravel())
    scores = maps.ravel()[order]
    is_threshold = np.append(scores[1:] != scores[:-1], True)
    fpr = np.append(0, (np.cumsum(~masks.ravel()[order]) / np.count_nonzero(~masks))[is_threshold])
    pro = np.append(0, (np.cumsum(overlap.ravel()[order]) / regions)[is_threshold])
    values = []
    for limit in LIMITS:
        below = fpr <= limit
        x, y = np.append(fpr[below], limit), np.append(pro[below], np.interp(limit, fpr, pro))
        values.append(float((np.diff(x) * (y[1:] + y[:-1])).sum() / 2 / limit))
    return values


def against_anomalib(data: Path, repeats: int) -> None:
    """Print both systems' values and the ratio of their times on the same maps."""
    python = peer_python("anomalib")
    maps, masks = made_maps(data)
    print(f"{len(maps)} maps of {SIDE}x{SIDE} from {data.name}, AU-PRO at {LIMITS}")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("maps.npy", "masks.npy")]
        np.save(files[0], maps)
        np.save(files[1], masks)
        command = [str(python), "-c", ANOMALIB, *map(str, files), *map(str, LIMITS)]
        ratios, cpu_ratios = [], []
        for repeat in range(repeats):
            seconds, cpu, values, bound = ours(maps, masks)
            peer: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            theirs = sum(peer["seconds"])
            ratios.append(theirs / seconds)
            cpu_ratios.append(peer["cpu"] / cpu)
            each = ", ".join(f"{second:.1f}" for second in peer["seconds"])
            print(
                f"  run {repeat + 1}: ours {seconds:.2f} s ({cpu:.2f} s CPU), "
                f"anomalib {theirs:.1f} s ({each}; {peer['cpu']:.1f} s CPU)"
            )
    for name, found in (("time", ratios), ("CPU time", cpu_ratios)):
        middle = statistics.median(found)
        print(f"  anomalib's {name} / ours: median {middle:.1f}, {min(found):.1f} to {max(found):.1f}")
    rows = zip(LIMITS, values, peer["values"], published(maps, masks), strict=True)
    for limit, value, peer_value, definition in rows:
        print(
            f"  AU-PRO {limit:.2f}: ours {value:.8f}; definition in float64 {definition - value:+.1e}, "
            f"anomalib {peer_value - value:+.1e}; proven bound of ours {bound:.1e}"
        )


def full_size() -> None:
    """Print time and peak memory of AU-PRO on a hundred maps of 5 megapixels; run in a process of its own."""
    rng = np.random.default_rng(0)
    height, width = FULL_SIZE
    base = ndimage.zoom(rng.gamma(4, 0.25, (height // 16, width // 16)), 16, order=1).astype(np.float32)
    mask = np.zeros(FULL_SIZE, bool)
    mask[300:500, 700:1100] = mask[1500:1520, 90:900] = True
    pixels = PixelMetrics()
    seconds = 0.0
    for index in range(FULL_COUNT):
        bad = index % 2 == 0
        map_ = np.roll(base, 37 * index, axis=1) * np.float32(1 + 0.003 * index)
        map_ += rng.random(FULL_SIZE, np.float32)
        if bad:
            map_[mask] += np.float32(1)
        start = time.perf_counter()
        pixels.add(map_, mask if bad else None, anomalous=bad)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    metrics = [pixels.aupro(limit) for limit in LIMITS]
    seconds += time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{FULL_COUNT} maps of {height}x{width}: {seconds:.1f} s, peak memory {peak:.0f} MB in all")
    for limit, metric in zip(LIMITS, metrics, strict=True):
        print(f"  AU-PRO {limit:.2f}: {metric.value:.8f}, proven bound {metric.bound:.1e}")


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=root.parent / "shared/data/magnetic_tile")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--full-size", action="store_true", help="only the 5-megapixel case")
    arguments = parser.parse_args()
    if arguments.full_size:
        full_size()
        return
    # In a process of its own, and first: a child's peak memory begins with what its parent held.
    subprocess.run([sys.executable, __file__, "--full-size"], check=True)
    against_anomalib(arguments.data, arguments.repeats)


if __name__ == "__main__":
    main()
