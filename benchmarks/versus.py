"""v2 beside v1.1 to v1.4 and anomalib's PaDiM and PatchCore: `make bench-accuracy`.

    python benchmarks/versus.py [--data magnetic_tile,elpv-mono,elpv-poly,generated] [--methods v2,padim-152]

All see the same images with the same weights (EfficientNet-Lite0's) at the same size (256 px), and one code
measures what each says. A seed decides which good images are learned, as in `accuracy.py`. v1.1 to v1.4 are
made for larger images and another backbone; v1.3 sees 64, 128 and 256 px here. anomalib's models get stages 3
and 5 (stride 8 and 16), the nearest to our 4 and 5 that timm hands out, and score images in their own way:
PaDiM with 100 random channels, as is its habit for small backbones, or with all 152; PatchCore with a coreset
of 1 %, or with its usual 10 % (only if named in --methods: it takes long).

A row is kept under --cache and not computed again until images, settings or code change; --fresh computes
all. Seconds are from file to score, features counted to each method as if it were alone; they are
compared with v2's of the same seed where one run took both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import anomalyvfm
from accuracy import REAL, open_split
from anomalib_process import BACKBONE, PEER, SIDE, AnomalibProcess
from anomalyvfm.data import Category, InputFrame, Sample, read_size
from anomalyvfm.data.generated import CATEGORIES, generate
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.detector import Detector
from anomalyvfm.evaluation.evaluate import read_checked_mask
from anomalyvfm.features import backbones
from anomalyvfm.features.backbones.remembering import RememberingBackbone
from anomalyvfm.metrics.image import auroc
from anomalyvfm.metrics.pixel import PixelMetrics
from anomalyvfm.presets import preset
from peers import REQUIREMENTS

OURS = ("v2", "v1.1", "v1.2", "v1.3", "v1.4")
PEERS: dict[str, dict[str, Any]] = {
    "padim-100": {"model": "padim", "n_features": 100},
    "padim-152": {"model": "padim", "n_features": 152},
    "patchcore-1%": {"model": "patchcore", "coreset": 0.01},
    "patchcore-10%": {"model": "patchcore", "coreset": 0.10},
}
METHODS = (*OURS, "padim-100", "padim-152", "patchcore-1%")
METRICS = {"image_auroc": "image AUROC", "aupro_0.30": "AU-PRO 0.30", "aupro_0.05": "AU-PRO 0.05"}
Row = dict[str, Any]

_GENERATED_IMAGES = 60
_NOT_MEASURED = ("server", "cli", "reports", "submission", "export")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=",".join(REAL), help="also: generated, or some of its categories")
    parser.add_argument("--methods", default=",".join(METHODS), help=f"of {', '.join((*OURS, *PEERS))}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--magnetic-tile", type=Path, default=Path("../shared/data/magnetic_tile"))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "anomalyvfm-versus")
    parser.add_argument(
        "--limit", type=int, help="at most so many images to learn, good and bad: a quick look"
    )
    parser.add_argument("--fresh", action="store_true", help="compute all rows anew")
    parser.add_argument("--json", type=Path, help="also write all rows here")
    options = parser.parse_args()
    methods = options.methods.split(",")
    if unknown := set(methods) - {*OURS, *PEERS}:
        parser.error(f"no method is called {', '.join(unknown)}")
    names = [n for name in options.data.split(",") for n in (CATEGORIES if name == "generated" else [name])]
    rows = []
    for name in names:
        splits = [
            _limited(_open(name, options.magnetic_tile, options.cache, seed), options.limit)
            for seed in range(options.seeds)
        ]
        rows += list(_rows(methods, splits, options.cache / "rows", options.fresh))
    print(table(rows, methods))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _open(name: str, magnetic_tile: Path, cache: Path, seed: int) -> Category:
    if name not in CATEGORIES:
        return open_split(name, magnetic_tile, seed)
    root = cache / f"generated-{_GENERATED_IMAGES}"
    if not root.exists():
        partial = root.with_suffix(".partial")
        generate(partial, images=_GENERATED_IMAGES, size=SIDE)
        partial.rename(root)
    return open_split(name, root / name, seed)


def _limited(category: Category, limit: int | None) -> Category:
    good = [sample for sample in category.test if sample.label == 0]
    bad = [sample for sample in category.test if sample.label == 1]
    return replace(category, train=category.train[:limit], test=(*good[:limit], *bad[:limit]))


def _rows(methods: Sequence[str], splits: Sequence[Category], folder: Path, fresh: bool) -> Iterator[Row]:
    """Every method's row for every seed of a data set: those kept as they are, new ones kept as they end."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(method, seed) for method in methods for seed in range(len(splits))]
    files = {one: folder / f"{_key(one[0], one[1], splits[one[1]])}.json" for one in wanted}
    missing = [one for one in wanted if fresh or not files[one].exists()]
    with tempfile.TemporaryDirectory(prefix="anomalyvfm-") as scratch:
        for measured in (_ours, _peers):
            for method, seed, row in measured(missing, splits, Path(scratch)):
                about = {"data": splits[seed].name, "method": method, "seed": seed, "run": _RUN, **row}
                values = ", ".join(f"{name} {row[name]:.4f}" for name in METRICS if row[name] is not None)
                seconds = (
                    f"fit {row['fit_s']:.1f} s, {len(splits[seed].test)} tested {row['predict_s']:.1f} s"
                )
                print(f"{splits[seed].name}, seed {seed}, {method}: {values}; {seconds}", file=sys.stderr)
                partial = files[method, seed].with_suffix(".partial")
                partial.write_text(json.dumps(about), encoding="utf-8")
                partial.replace(files[method, seed])
    for one in wanted:
        yield json.loads(files[one].read_text(encoding="utf-8"))


_RUN = time.strftime("%Y-%m-%dT%H:%M:%S")

Asked = Sequence[tuple[str, int]]
Measured = Iterator[tuple[str, int, Row]]


def _ours(asked: Asked, splits: Sequence[Category], scratch: Path) -> Measured:
    """v1.x and v2: images that two of them see alike go through the backbone once."""
    remembering: dict[Any, RememberingBackbone] = {}
    for method, seed in asked:
        if method not in OURS:
            continue
        settings = preset(method).override({"backbone": BACKBONE, "image.size": SIDE})
        layers = settings.features.layers
        if layers not in remembering:
            loaded = backbones.load(BACKBONE, layers=layers)
            remembering[layers] = RememberingBackbone(loaded, scratch / f"features-{len(remembering)}")
        backbone = remembering[layers]
        samples = splits[seed].test
        before = backbone.seconds_saved
        detector = Detector(settings, seed=seed, backbone=backbone).fit(splits[seed])
        fitted = backbone.seconds_saved
        started = time.perf_counter()
        verdicts = []
        for _, verdict in detector.judge([sample.path for sample in samples]):
            assert isinstance(verdict, Verdict), verdict
            verdict.frame.restore(verdict.anomaly_map, (SIDE, SIDE))  # peers hand out maps of this size, too
            verdicts.append(verdict)
        seconds = time.perf_counter() - started + backbone.seconds_saved - fitted
        fit_seconds = detector.fit_seconds_ + fitted - before
        scores = [verdict.score for verdict in verdicts]
        row = measure(samples, scores, (verdict.anomaly_map for verdict in verdicts))
        yield method, seed, {**row, "fit_s": fit_seconds, "predict_s": seconds}


def _peers(asked: Asked, splits: Sequence[Category], scratch: Path) -> Measured:
    asked = [one for one in asked if one[0] in PEERS]
    if not asked:
        return
    paths = [sample.path for split in splits for sample in (*split.train, *split.test)]
    with AnomalibProcess(paths, scratch) as anomalib:
        print(f"{splits[0].name}: {anomalib.about}", file=sys.stderr)
        for method, seed in asked:
            learned, tested = splits[seed].train, splits[seed].test
            fit_s, predict_s, scores, maps = anomalib.fit_and_test(
                PEERS[method], seed, [sample.path for sample in learned], [sample.path for sample in tested]
            )
            yield method, seed, {**measure(tested, scores, maps), "fit_s": fit_s, "predict_s": predict_s}


def measure(samples: Sequence[Sample], scores: Sequence[float], maps: Iterable[NDArray[np.float32]]) -> Row:
    """Image AUROC, and AU-PRO with maps brought to each image's own size; None without masks."""
    row: Row = {"image_auroc": auroc(scores, [sample.label == 1 for sample in samples]).value}
    pixels = PixelMetrics()
    if any(sample.mask for sample in samples):
        for sample, map_ in zip(samples, maps, strict=True):
            size = read_size(sample.path)
            whole = InputFrame(SIDE, SIDE).restore(np.asarray(map_), size)
            pixels.add(whole, read_checked_mask(sample, size), anomalous=sample.label == 1)
    return row | {f"aupro_{limit:.2f}": pixels.aupro(limit).value for limit in (0.30, 0.05)}


def table(rows: Sequence[Row], methods: Sequence[str]) -> str:
    """Markdown: data × method, mean over seeds with the lowest and highest; times in v2's."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        found.setdefault(row["data"], {}).setdefault(row["method"], []).append(row)
    lines = [
        f"| data | method | {' | '.join(METRICS.values())} | fit, times v2's | predict, times v2's |",
        "|---" * (4 + len(METRICS)) + "|",
    ]
    for data, by_method in found.items():
        v2 = {(row["seed"], row["run"]): row for row in by_method.get("v2", [])}
        for method in methods:
            mine = by_method[method]
            cells = [_range([row[metric] for row in mine], 4) for metric in METRICS]
            for seconds in ("fit_s", "predict_s"):
                pairs = [(row[seconds], v2.get((row["seed"], row["run"]))) for row in mine]
                cells.append(_range([time / base[seconds] for time, base in pairs if base], 2))
            lines.append(f"| {data} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _range(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{np.mean(known):.{digits}f} ({min(known):.{digits}f} to {max(known):.{digits}f})"


def _key(method: str, seed: int, split: Category) -> str:
    """What a row depends on, as a short name."""
    package = Path(anomalyvfm.__file__).parent
    sources = sorted(package.rglob("*.py") if method in OURS else (package / "metrics").glob("*.py"))
    sources = [file for file in sources if file.relative_to(package).parts[0] not in _NOT_MEASURED]
    settings = (
        preset(method).model_dump(mode="json")
        if method in OURS
        else [PEERS[method], {"anomalib": REQUIREMENTS["anomalib"]}]
    )
    digest = hashlib.sha256(json.dumps([method, seed, settings]).encode())
    for file in [*sources, *([] if method in OURS else [PEER])]:
        digest.update(file.read_bytes())
    for sample in (*split.train, *split.validation, *split.test):
        status = sample.path.stat()
        digest.update(f"{sample.path} {sample.label} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:20]


if __name__ == "__main__":
    main()
