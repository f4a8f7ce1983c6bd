"""Time and memory of a fit as the number of images doubles: `make bench-scaling`.

Each fit is a process of its own, on real images repeated as often as needed; sizes are run in turn, several
times, and compared within a round, since machines drift.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

_CHILD = """
import json, sys, time
from pathlib import Path
from anomalyvfm.data.datasets.listing import list_images
from anomalyvfm.detector import Detector
from anomalyvfm.evaluation.evaluate import peak_megabytes
paths = list_images(Path(sys.argv[1]))
wanted = int(sys.argv[2])
paths = (paths * (wanted // len(paths) + 1))[:wanted]
detector = Detector("v2", {"backbone": "efficientnet-lite0"})
started = time.perf_counter()
detector.fit(paths)
print(json.dumps({"seconds": time.perf_counter() - started, "mb": peak_megabytes()}))
"""


def fit(images: Path, count: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(images), str(count)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "images", nargs="?", type=Path, default=Path("../shared/data/magnetic_tile/train/good")
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[250, 500, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds = [[fit(options.images, count) for count in options.counts] for _ in range(options.rounds)]
    print("| images | seconds, median | times the row above | peak MB, median | times the row above |")
    print("|---|---|---|---|---|")
    for i, count in enumerate(options.counts):
        cells = []
        for figure in ("seconds", "mb"):
            cells.append(f"{statistics.median(r[i][figure] for r in rounds):.1f}")
            ratios = [r[i][figure] / r[i - 1][figure] for r in rounds] if i else []
            cells.append(
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else ""
            )
        print(f"| {count} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
