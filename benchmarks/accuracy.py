"""v2 beside v1.1 to v1.4 and anomalib's PaDiM and PatchCore: `make bench-accuracy`; v2 alone: `make bench`.

    python benchmarks/accuracy.py [--data pcb,generated] [--methods v2,padim-152@256] [--seeds 3]

All learn the same good images with the same weights (EfficientNet-Lite0's), and one code measures what each
says. v2 has its default settings, whatever the data. anomalib's models see images of 256 and of 512 px; the
better size of each data set counts. They get stages 3 and 5 (stride 8 and 16), the nearest to our 4 and 5
that timm hands out, and score images in their own way: PaDiM with all 152 channels, or with 100 random ones,
as is its habit for small backbones (padim-100, if named); PatchCore with a coreset of 1 % at 256 px, and of
as many patches at 512 px, or with its usual 10 % (if named: it takes long). v1.1 to v1.4 are made for larger
images and another backbone; here they see 512 px.

A row is written as soon as it is measured, under --cache, and not measured again until images, settings or
code change: a run that was stopped goes on. --fresh measures all. Seconds are from file to score, features
counted to each method as if it were alone; they are compared with v2's of the same seed where one run took
both.
"""

from __future__ import annotations

import argparse
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

from anomalib_process import BACKBONE, PEER, AnomalibProcess
from anomalyvfm.data import Category, InputFrame, Sample, read_size
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.detector import Detector
from anomalyvfm.evaluation.evaluate import read_checked_mask
from anomalyvfm.features import backbones
from anomalyvfm.features.backbones.remembering import RememberingBackbone
from anomalyvfm.metrics.image import auroc, decision_metrics
from anomalyvfm.metrics.pixel import PixelMetrics
from anomalyvfm.presets import Preset, preset
from kept_rows import PACKAGE, Row, keep, kept, key, measured_sources
from peers import REQUIREMENTS
from splits import CACHE, SHARED, names, open_split

OURS = ("v2", "v1.1", "v1.2", "v1.3", "v1.4")
PEERS: dict[str, dict[str, Any]] = {
    "padim-100@256": {"side": 256, "model": "padim", "n_features": 100},
    "padim-100@512": {"side": 512, "model": "padim", "n_features": 100},
    "padim-152@256": {"side": 256, "model": "padim", "n_features": 152},
    "padim-152@512": {"side": 512, "model": "padim", "n_features": 152},
    "patchcore-1%@256": {"side": 256, "model": "patchcore", "coreset": 0.01},
    "patchcore-10%@256": {"side": 256, "model": "patchcore", "coreset": 0.10},
    "patchcore-0.25%@512": {"side": 512, "model": "patchcore", "coreset": 0.0025},
}
METHODS = ("v2", "padim-152@256", "padim-152@512", "patchcore-1%@256", "patchcore-0.25%@512", *OURS[1:])
METRICS = {
    "image_auroc": "image AUROC",
    "aupro_0.30": "AU-PRO 0.30",
    "aupro_0.05": "AU-PRO 0.05",
    "class_f1": "class F1",
    "false_alarm_rate": "false alarms",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", default="real,generated", help="real, generated, or some of their data sets"
    )
    parser.add_argument(
        "--methods", default=",".join(METHODS), help=f"of {', '.join((*OURS, *PEERS))}".replace("%", "%%")
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shared", type=Path, default=SHARED, help="where pcb, magnetic_tile, cookies lie")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="of v2"
    )
    parser.add_argument(
        "--limit", type=int, help="at most so many images to learn, good and bad: a quick look"
    )
    parser.add_argument("--fresh", action="store_true", help="compute all rows anew")
    parser.add_argument("--json", type=Path, help="also write all rows here")
    options = parser.parse_args()
    methods = options.methods.split(",")
    if unknown := set(methods) - {*OURS, *PEERS}:
        parser.error(f"no method is called {', '.join(unknown)}")
    changed = dict(text.split("=", 1) for text in options.settings)
    rows = []
    for name in names(options.data):
        splits = [
            _limited(open_split(name, seed, options.shared, options.cache), options.limit)
            for seed in range(options.seeds)
        ]
        rows += list(_rows(methods, splits, changed, options.cache / "rows", options.fresh))
    print(table(rows, methods))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _limited(category: Category, limit: int | None) -> Category:
    good = [sample for sample in category.test if sample.label == 0]
    bad = [sample for sample in category.test if sample.label == 1]
    return replace(category, train=category.train[:limit], test=(*good[:limit], *bad[:limit]))


def _rows(
    methods: Sequence[str], splits: Sequence[Category], changed: dict[str, str], folder: Path, fresh: bool
) -> Iterator[Row]:
    """Every method's row for every seed of a data set: those kept as they are, new ones kept as they end."""
    wanted = [(method, seed) for method in methods for seed in range(len(splits))]
    settings = {method: _settings(method, changed) for method in methods if method in OURS}
    files = {one: folder / f"{_key(*one, settings.get(one[0]), splits[one[1]])}.json" for one in wanted}
    missing = [one for one in wanted if fresh or not files[one].exists()]
    with tempfile.TemporaryDirectory(prefix="anomalyvfm-") as scratch:
        for measured in (
            _ours(settings, missing, splits, Path(scratch)),
            _peers(missing, splits, Path(scratch)),
        ):
            for method, seed, row in measured:
                about = {"data": splits[seed].name, "method": method, "seed": seed, "run": _RUN, **row}
                values = ", ".join(f"{name} {row[name]:.4f}" for name in METRICS if row.get(name) is not None)
                seconds = (
                    f"fit {row['fit_s']:.1f} s, {len(splits[seed].test)} tested {row['predict_s']:.1f} s"
                )
                print(f"{splits[seed].name}, seed {seed}, {method}: {values}; {seconds}", file=sys.stderr)
                keep(files[method, seed], about)
    for one in wanted:
        yield kept(files[one])


_RUN = time.strftime("%Y-%m-%dT%H:%M:%S")

Asked = Sequence[tuple[str, int]]
Measured = Iterator[tuple[str, int, Row]]


def _settings(method: str, changed: dict[str, str]) -> Preset:
    if method == "v2":
        return preset(method).override({"backbone": BACKBONE, **changed})
    return preset(method).override({"backbone": BACKBONE, "image.size": 512})


def _ours(settings: dict[str, Preset], asked: Asked, splits: Sequence[Category], scratch: Path) -> Measured:
    """v1.x and v2: images that two of them see alike go through the backbone once."""
    remembering: dict[Any, RememberingBackbone] = {}
    for method, seed in asked:
        if method not in OURS:
            continue
        wanted = (settings[method].features.layers, settings[method].detail)
        if wanted not in remembering:
            loaded = backbones.load(BACKBONE, layers=wanted[0], detail=wanted[1])
            remembering[wanted] = RememberingBackbone(loaded, scratch / f"features-{len(remembering)}")
        backbone = remembering[wanted]
        samples = splits[seed].test
        before = backbone.seconds_saved
        detector = Detector(settings[method], seed=seed, backbone=backbone).fit(splits[seed])
        fitted = backbone.seconds_saved
        started = time.perf_counter()
        verdicts = []
        for _, verdict in detector.judge([sample.path for sample in samples]):
            assert isinstance(verdict, Verdict), verdict
            # As large as the image in the frame, as peers' maps are as large as the images they see.
            verdict.frame.restore(verdict.anomaly_map, (verdict.frame.height, verdict.frame.width))
            verdicts.append(verdict)
        seconds = time.perf_counter() - started + backbone.seconds_saved - fitted
        fit_seconds = detector.fit_seconds_ + fitted - before
        whole = (verdict.frame.restore(verdict.anomaly_map, verdict.size) for verdict in verdicts)
        row = measure(samples, [verdict.score for verdict in verdicts], whole)
        labels = [sample.label == 1 for sample in samples]
        said = {
            name: metric.value
            for name, metric in decision_metrics([v.anomalous for v in verdicts], labels).items()
        }
        yield method, seed, {**said, **row, "fit_s": fit_seconds, "predict_s": seconds}


def _peers(asked: Asked, splits: Sequence[Category], scratch: Path) -> Measured:
    asked = [one for one in asked if one[0] in PEERS]
    paths = [sample.path for split in splits for sample in (*split.train, *split.test)]
    for side in sorted({PEERS[method]["side"] for method, _ in asked}):
        frame = InputFrame(side, side)
        with AnomalibProcess(paths, side, scratch) as anomalib:
            print(f"{splits[0].name}: {anomalib.about}", file=sys.stderr)
            for method, seed in asked:
                if PEERS[method]["side"] != side:
                    continue
                learned, tested = splits[seed].train, splits[seed].test
                fit_s, predict_s, scores, maps = anomalib.fit_and_test(
                    PEERS[method], seed, [one.path for one in learned], [one.path for one in tested]
                )
                whole = (
                    frame.restore(np.asarray(map_), read_size(one.path))
                    for one, map_ in zip(tested, maps, strict=True)
                )
                row = measure(tested, scores, whole)
                yield method, seed, {**row, "fit_s": fit_s, "predict_s": predict_s}


def measure(samples: Sequence[Sample], scores: Sequence[float], maps: Iterable[NDArray[np.float32]]) -> Row:
    """Image AUROC, and AU-PRO of maps that are as large as each image; None without masks."""
    row: Row = {"image_auroc": auroc(scores, [sample.label == 1 for sample in samples]).value}
    pixels = PixelMetrics()
    if any(sample.mask for sample in samples):
        for sample, map_ in zip(samples, maps, strict=True):
            pixels.add(map_, read_checked_mask(sample, map_.shape), anomalous=sample.label == 1)
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
            cells = [_range([row.get(metric) for row in mine], 4) for metric in METRICS]
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


def _key(method: str, seed: int, settings: Preset | None, split: Category) -> str:
    samples = (*split.train, *split.validation, *split.test)
    if settings:
        return key([method, seed, settings.model_dump(mode="json")], measured_sources(), samples)
    metrics = sorted((PACKAGE / "metrics").glob("*.py"))
    return key([method, seed, PEERS[method], REQUIREMENTS["anomalib"]], [*metrics, PEER], samples)


if __name__ == "__main__":
    main()
