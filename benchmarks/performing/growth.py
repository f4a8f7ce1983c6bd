"""How cost grows: one thing changed at a time, the frame's side, the layers, the bank.

    python -m performing.growth MODEL FOLDER

Each model is fitted by a process of its own, and judges in another, loaded and warm. How cost grows with the
number of images is among the rows of memory.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from performing.rows import Row, Spread

if TYPE_CHECKING:
    from performing.bench import Bench

_LEARNED, _JUDGED = 100, 60
_AS_IT_IS = "256 px, layers 4 and 5, with a bank"
_CHANGES: dict[str, Sequence[str]] = {
    _AS_IT_IS: (),
    "512 px": ("--image-size", "512"),
    "1024 px": ("--image-size", "1024"),
    "layer 5 alone": ("--set", "features.layers=5"),
    "layers 3, 4 and 5, on a grid twice as fine": ("--set", "features.layers=3,4,5"),
    "no bank": ("--set", "gaussian.bank=never"),
}
_FIGURES = {"fit_s": "s", "judge_ms": "ms/image", "peak_mb": "MB", "model_mb": "MB"}
_NAMES = {
    "fit_s": f"fit {_LEARNED} images",
    "judge_ms": "judge, fitted model",
    "peak_mb": "judge, peak memory",
    "model_mb": "fitted model",
}


def growth(bench: Bench) -> list[Row]:
    found: dict[str, list[dict[str, float]]] = {change: [] for change in _CHANGES}
    for number in bench.in_turn("growth", of=1):
        for change, settings in _CHANGES.items():
            out = bench.work / f"growth-{number}-{list(_CHANGES).index(change)}"
            fit = bench.run("growth", f"fit, {change}", partial(_fit, bench, out, settings))
            name = f"judge, {change}"
            judged = bench.child(
                "growth", name, "growth", partial(str, out), partial(bench.to_judge, _JUDGED)
            )
            found[change].append({"fit_s": fit.wall_s, **judged})
    return [
        Row(f"{_NAMES[figure]}, {change}", Spread.of([one[figure] for one in found[change]]), unit)
        for figure, unit in _FIGURES.items()
        for change in _CHANGES
    ]


def _fit(bench: Bench, out: Path, settings: Sequence[str]) -> list[str | Path]:
    # A size given later counts.
    return [*bench.fit_command(bench.to_learn(_LEARNED), out), *settings, "--overwrite"]


def judged(model: Path, folder: Path) -> dict[str, Any]:
    from anomalyvfm.detector import Detector
    from anomalyvfm.evaluation.evaluate import peak_megabytes

    detector = Detector.load(model)
    paths = sorted(folder.iterdir())
    list(detector.judge(paths[:8]))
    started = time.perf_counter()
    for _, verdict in detector.judge(paths):
        _ = verdict
    seconds = time.perf_counter() - started
    size = sum(file.stat().st_size for file in model.iterdir())
    return {
        "judge_ms": 1000 * seconds / len(paths),
        "peak_mb": peak_megabytes(),
        "model_mb": size / 1e6,
    }


if __name__ == "__main__":
    print(json.dumps(judged(Path(sys.argv[1]), Path(sys.argv[2]))))
