"""What 10 million images would cost on 64 machines, by what a part of them costs here.

python benchmarks/cluster_cost.py [--images 10000000] [--machines 64] [--cores 16] [--image-kb 1000]

Measured here: a part of 512 drawn images learned by a worker of one core, its sums written, read and added,
the features it keeps, and what the driver holds for each image. The rest is arithmetic with its terms.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomalyvfm.cluster.fitting import recipe_of
from anomalyvfm.cluster.learning import Learner, LearnPart
from anomalyvfm.cluster.part_folders import read_learned
from anomalyvfm.cluster.parts import FAN, Node, parts_of
from anomalyvfm.data.parallel import use_cores
from anomalyvfm.data.sources import source_names
from anomalyvfm.detector import Detector
from anomalyvfm.presets import preset
from cluster import drawn_images

_PART, _LISTED = 512, 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--machines", type=int, default=64)
    parser.add_argument("--cores", type=int, default=16, help="of each machine, a worker on each")
    parser.add_argument("--image-kb", type=float, default=1000.0, help="size of a file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    use_cores(1)
    with tempfile.TemporaryDirectory() as folder:
        part = _measured(Path(folder))
    for name, value in part.items():
        print(f"{name}: {value:,.4g}")
    print()
    _model(given, part)


def _measured(folder: Path) -> dict[str, float]:
    images = sorted(drawn_images(folder / "images", _PART).iterdir())
    kept_images = preset("v2").model_dump()["calibration"]["images"]
    detector = Detector("v2").fit(images[:16])
    learner = Learner(recipe_of(detector.pipeline_), (), folder)  # type: ignore[arg-type]
    learner.prepare()
    kept = list(range(0, _PART, 8))
    found: dict[str, float] = {}
    seconds = []
    for number in (0, 1):  # the first compiles the network
        started = time.perf_counter()
        names = source_names(images)
        learner.do(LearnPart(Node(0, number), images, names, kept, ()), lambda seen: None)
        seconds.append(time.perf_counter() - started)
    place = folder / Node(0, 1).name
    found["seconds a part of 512 takes one core"] = seconds[1]
    found["images/s of one core"] = _PART / seconds[1]
    found["MB of a part's sums"] = sum(file.stat().st_size for file in place.glob("sums*")) / 1e6
    features = sum(file.stat().st_size for file in place.glob("features*"))
    found["MB of a kept image's features"] = features / len(kept) / 1e6
    found["kept images, at most"] = kept_images
    started = time.perf_counter()
    first = read_learned(folder / Node(0, 0).name, learner.restore)
    found["seconds to read sums"] = time.perf_counter() - started
    second = read_learned(place, learner.restore)
    started = time.perf_counter()
    first.merge(second)
    found["seconds to add sums"] = time.perf_counter() - started
    found["MB of sums in memory"] = _size(first.scorer) / 1e6
    found["bytes a driver holds for an image"] = _bytes_listed()
    task = LearnPart(Node(0, 0), images, [str(image) for image in images], kept, ())
    found["bytes that Ray carries for an image"] = len(pickle.dumps(task)) / _PART
    found["GFLOP of the sums for an image"] = _of_sums(first.scorer)
    return found


def _of_sums(scorer: Any) -> float:
    """Two for each product of two of a patch's features."""
    grids = [(one.grid, one.fitted.statistics.dimensions) for one in scorer.patches]
    return float(sum(2 * grid.height * grid.width * wide**2 for grid, wide in grids)) / 1e9


def _size(scorer: Any) -> float:
    return float(sum(one.fitted.statistics.outer.nbytes for one in scorer.patches))


def _bytes_listed() -> float:
    """Paths, names and keys, as a fit holds them for each image."""
    tracemalloc.start()
    paths = [Path(f"/plant/line-7/2026-11/{number:08}.png") for number in range(_LISTED)]
    names = source_names(paths)
    keys = Counter(np.random.default_rng(0).integers(0, 1 << 56, _LISTED).tolist())
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(names) == len(keys)
    return held / _LISTED


def _model(given: argparse.Namespace, part: dict[str, float]) -> None:
    n, machines, workers = given.images, given.machines, given.machines * given.cores
    rate = part["images/s of one core"]
    counts = [part.count for part in parts_of(n, 8)]
    parts, each = len(counts), max(counts)
    rounds = -(-parts // workers)
    learning = rounds * each / rate
    sums_gb = part["MB of a part's sums"] / 1e3
    nodes, level = 0, parts
    while level > FAN:
        level = -(-level // FAN)
        nodes += level
    read_machine = given.cores * rate * given.image_kb / 1e3
    add = part["seconds to read sums"] + part["seconds to add sums"]
    print(f"{n:,} images, {machines} machines of {given.cores} cores, {workers} workers of one core each")
    print(f"parts: {parts:,} of {each:,} images, {rounds} rounds; sums above them: {nodes}")
    print(f"learning: {rounds} rounds × {each} / {rate:.1f}/s = {learning / 60:.1f} min")
    print(f"images read: {n * given.image_kb / 1e9:,.1f} TB, {read_machine:.0f} MB/s by each machine,")
    print(f"  {read_machine * machines / 1e3:.1f} GB/s by all")
    moved = (parts + nodes) * sums_gb
    print(f"sums: {moved:,.0f} GB written and read once, {2 * moved / learning:.2f} GB/s by all machines")
    added = (parts + nodes) * add / workers
    print(f"adding up: {added:.1f} s of each worker, {level * add:.1f} s of the driver")
    kept = part["kept images, at most"] * part["MB of a kept image's features"] / 1e3
    print(f"features of kept images: {kept:.2f} GB, whatever the number of images")
    carried = n * part["bytes that Ray carries for an image"] / 1e9
    print(f"by Ray's own channels: {carried:.1f} GB, paths and names")
    print(f"the driver's list: {n * part['bytes a driver holds for an image'] / 1e9:.1f} GB of memory")
    print(f"a worker: {part['MB of sums in memory']:.0f} MB of sums beside the network, whatever the number")


if __name__ == "__main__":
    main()
