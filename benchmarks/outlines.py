"""How well regions outline defects: areas, ranges and overlap, by the defects' size in cells of the map.

    python benchmarks/outlines.py [--magnetic-tile ../shared/data/magnetic_tile] [--images 120] [--share 0.3]

Every region of an anomalous image that touches a defect is set beside the whole of the defects it touches.
`--share` outlines every region at one share of its peak, whatever its size.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import ndimage

from anomalyvfm.data import Category, ImageError, open_dataset
from anomalyvfm.data.generated import generate
from anomalyvfm.decision import regions
from anomalyvfm.detector import Detector
from anomalyvfm.evaluation.evaluate import read_checked_mask

DRAWN = ("blister", "gear", "can", "fabric")
BUCKETS = ((0, 0.25), (0.25, 1), (1, 4), (4, np.inf))
Row = tuple[float, float, float, float]
"""Area over the defect's, whether the range holds the defect's, overlap, recall."""


def measure(category: Category) -> tuple[dict[tuple[float, float], list[Row]], float]:
    """Of each region, by its defect's size in cells, what was found; pixel F1 of all defective images."""
    detector = Detector("v2", {"backbone": "efficientnet-lite0"}).fit(category)
    samples = [s for s in category.test if s.label and s.mask and s.condition in (None, "regular")]
    found: dict[tuple[float, float], list[Row]] = defaultdict(list)
    counts = np.zeros(3)
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
    hit, wrong, missed = counts
    return found, float(2 * hit / (2 * hit + wrong + missed))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--magnetic-tile", type=Path, default=Path("../shared/data/magnetic_tile"))
    parser.add_argument("--images", type=int, default=120, help="of each drawn category")
    parser.add_argument("--share", type=float, help="one share of the peak for regions of every size")
    options = parser.parse_args()
    if options.share is not None:
        regions._SHARES = (options.share, options.share)
    print("| data | pixel F1 | defect, in cells | regions | area ratio | range holds it | overlap | found |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder) / "drawn", DRAWN, options.images)
        categories = [open_dataset(Path(folder) / "drawn", category=name) for name in DRAWN]
        if options.magnetic_tile.is_dir():
            categories.append(open_dataset(options.magnetic_tile))
        else:
            print(f"{options.magnetic_tile} is not there: left out", file=sys.stderr)
        for category in categories:
            found, f1 = measure(category)
            for (low, high), rows in sorted(found.items()):
                ratio, held, overlap, recall = np.transpose(rows)
                size = f"{low} to {high}" if np.isfinite(high) else f"{low} and more"
                print(
                    f"| {category.name} | {f1:.3f} | {size} | {len(rows)} | {np.median(ratio):.1f} | "
                    f"{held.mean():.0%} | {np.median(overlap):.2f} | {np.median(recall):.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
