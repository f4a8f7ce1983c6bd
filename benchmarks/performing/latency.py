"""How long a single image takes: warm, inside a process, and cold, as a whole process.

python -m performing.latency fitted|exported MODEL FOLDER COUNT
"""

from __future__ import annotations

import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from performing.rows import Row, Spread

if TYPE_CHECKING:
    from performing.bench import Bench

_TAIL = 2.5
_COLD_S = 1.5
_WARM_UP = 20


def latency(bench: Bench, count: int) -> list[Row]:
    rows = []
    found: dict[str, list[dict[str, float]]] = {name: [] for name in bench.ways}
    cold: dict[str, list[float]] = {name: [] for name in bench.ways}
    images = bench.to_judge(min(bench.sizes))
    for _ in range(bench.rounds):
        for name, model in bench.ways.items():
            kind = "exported" if name in bench.exported else "fitted"
            found[name].append(bench.child("latency", "latency", kind, model, images, str(count)))
            command = bench.predict_command(model, next(images.iterdir()), bench.new("cold"))
            cold[name].append(bench.run("latency", f"one image, cold, {name}", command).wall_s)
    for name in bench.ways:
        for figure in ("p50_ms", "p99_ms"):
            spread = Spread.of([one[figure] for one in found[name]])
            rows.append(Row(f"one image, warm, {name}, {figure[:3]}", spread, "ms"))
        tails = Spread.of([one["p99_ms"] / one["p50_ms"] for one in found[name]])
        rows.append(Row(f"one image, warm, {name}, p99 over p50", tails, "×", _TAIL, least=False))
    for name in bench.ways:
        target = _COLD_S if name in bench.exported else None
        rows.append(Row(f"predict one image, cold, {name}", Spread.of(cold[name]), "s", target, least=False))
    return rows


def quantile(ordered: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed."""
    return ordered[max(0, -(-round(share * 1000) * len(ordered) // 1000) - 1)]


def _judge(kind: str, model: str) -> Any:
    """A function that judges one file, as a library's user would."""
    if kind == "exported":
        from anomalyvfm import runtime

        exported = runtime.load(model)
        return lambda path: exported.predict([path])
    from anomalyvfm.detector import Detector

    detector = Detector.load(model)
    return lambda path: list(detector.judge([path]))


def main(kind: str, model: str, folder: str, count: int) -> None:
    judge = _judge(kind, model)
    seconds = []
    for path in islice(cycle(sorted(Path(folder).iterdir())), count + _WARM_UP):
        started = time.perf_counter()
        judge(path)
        seconds.append(time.perf_counter() - started)
    ordered = sorted(seconds[_WARM_UP:])
    print(json.dumps({f"p{p}_ms": 1000 * quantile(ordered, p / 100) for p in (50, 99)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
