"""How well regions outline defects: areas, ranges and overlap, by the defects' size in cells of the map.

    python benchmarks/outlines.py [--sets magnetic_tile,pcb] [--images 120] [--share 0.3] [--nearly 1]

Every region of an anomalous image that touches a defect is set beside the whole of the defects it touches.
Beside pixel F1 stands what it would be were the best level of each image's map known: no rule that outlines
by one level an image can do better; and what it is in lights that no good image was learned in, where a set
has such images.
`--share` outlines every region at one share of its peak, whatever its size; `--nearly 1` outlines none for
being nearly as odd as the image's oddest place. Rows are kept in runs/outlines/ as they are measured.
"""

from __future__ import annotations

import argparse
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from anomalyvfm.data import Category, ImageError, open_dataset
from anomalyvfm.data.generated import generate
from anomalyvfm.decision import regions
from anomalyvfm.detector import Detector
from anomalyvfm.evaluation.evaluate import read_checked_mask
from kept_rows import keep, kept, key, measured_sources
from labelled_sets import opened

_KEPT = Path("runs/outlines")
DRAWN = ("blister", "gear", "can", "fabric", "circuit_board", "foam")
BUCKETS = ((0, 0.25), (0.25, 1), (1, 4), (4, np.inf))
Row = tuple[float, float, float, float]
"""Area over the defect's, whether the range holds the defect's, overlap, recall."""


def measure(category: Category) -> tuple[dict[tuple[float, float], list[Row]], float, float, float | None]:
    """Of each region, by its defect's size in cells, what was found; pixel F1 of all defective images.

    And that F1 with the best level of each image, and in other lights.
    """
    detector = Detector("v2", {"backbone": "efficientnet-lite0"}).fit(category)
    masked = [s for s in category.test if s.label and s.mask]
    samples = [s for s in masked if s.condition in (None, "regular")]
    found: dict[tuple[float, float], list[Row]] = defaultdict(list)
    counts, best_counts = np.zeros(3), np.zeros(3)
    eight = np.ones((3, 3))
    judged = detector.judge([sample.path for sample in samples])
    for sample, (_, verdict) in zip(samples, judged, strict=True):
        if isinstance(verdict, ImageError):
            continue
        truth = read_checked_mask(sample, verdict.size)
        if truth is None:
            continue
        mask = verdict.mask
        counts += (mask & truth).sum(), (mask & ~truth).sum(), (truth & ~mask).sum()
        best_counts += at_best_level(verdict.map, truth)
        cell = np.prod(verdict.frame.patch_size(verdict.anomaly_map.shape, verdict.size))
        defects, _ = ndimage.label(truth, eight)
        parts, _ = ndimage.label(mask, eight)
        for region in verdict.regions:
            own = parts == parts[region.peak_at[1], region.peak_at[0]]
            touched = np.unique(defects[own & truth])
            if not len(touched):
                continue
            defect = np.isin(defects, touched)
            area, both = int(defect.sum()), int((own & defect).sum())
            assert region.area_range is not None
            low, high = region.area_range
            row = (
                region.area / area,
                float(low <= area <= high),
                both / int((own | defect).sum()),
                both / area,
            )
            bucket = next(one for one in BUCKETS if one[0] <= area / cell < one[1])
            found[bucket].append(row)
    elsewhere = [s for s in masked if s not in samples]
    other_counts = np.zeros(3)
    for sample, (_, verdict) in zip(elsewhere, detector.judge([s.path for s in elsewhere]), strict=True):
        if isinstance(verdict, ImageError):
            continue
        truth = read_checked_mask(sample, verdict.size)
        if truth is not None:
            mask = verdict.mask
            other_counts += (mask & truth).sum(), (mask & ~truth).sum(), (truth & ~mask).sum()
    return found, f1_of(counts), f1_of(best_counts), f1_of(other_counts) if elsewhere else None


def at_best_level(map_: NDArray[np.float32], truth: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Pixels that are hit, wrong and missed above the level of a map (H, W) that gives the best F1."""
    order = np.argsort(-map_, axis=None, kind="stable")
    hits = np.cumsum(truth.ravel()[order])
    number = int(np.argmax(hits / (np.arange(1, len(hits) + 1) + hits[-1])))
    return hits[number], number + 1 - hits[number], hits[-1] - hits[number]


def f1_of(counts: NDArray[np.float64]) -> float:
    """Of pixels that are hit, wrong and missed."""
    hit, wrong, missed = counts
    return float(2 * hit / (2 * hit + wrong + missed))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", default="magnetic_tile,pcb")
    parser.add_argument("--images", type=int, default=120, help="of each drawn category")
    parser.add_argument("--share", type=float, help="one share of the peak for regions of every size")
    parser.add_argument("--nearly", type=float, help="outlined with the oddest place: so much of its peak")
    options = parser.parse_args()
    if options.share is not None:
        regions._SHARES = (options.share, options.share)
    if options.nearly is not None:
        regions._NEARLY = options.nearly
    columns = ["data", "pixel F1", "at best levels", "in other lights", "defect, in cells", "regions"]
    columns += ["area ratio", "range holds it", "overlap", "found"]
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    drawn = _KEPT / f"drawn_{options.images}"
    if not drawn.exists():
        partial = drawn.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        generate(partial, DRAWN, options.images)
        partial.rename(drawn)
    categories = [opened(name) for name in filter(None, options.sets.split(","))]
    for category in [*categories, *(open_dataset(drawn, category=name) for name in DRAWN)]:
        samples = [*category.train, *category.validation, *category.test]
        about = ("outlines", regions._SHARES, regions._NEARLY)
        file = _KEPT / f"{key(about, measured_sources(), samples)}.json"
        if not file.exists():
            found, f1, best, other = measure(category)
            scores = {"f1": f1, "at_best_levels": best, "in_other_lights": other}
            keep(file, {"found": sorted(found.items()), **scores})
        row = kept(file)
        for (low, high), rows in row["found"]:
            ratio, held, overlap, recall = np.transpose(rows)
            size = f"{low} to {high}" if np.isfinite(high) else f"{low} and more"
            elsewhere = "–" if row["in_other_lights"] is None else f"{row['in_other_lights']:.3f}"
            cells = [category.name, f"{row['f1']:.3f}", f"{row['at_best_levels']:.3f}", elsewhere, size]
            cells += [str(len(rows)), f"{np.median(ratio):.1f}", f"{held.mean():.0%}"]
            cells += [f"{np.median(overlap):.2f}", f"{np.median(recall):.2f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
