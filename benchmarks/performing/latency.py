"""How long a single image takes: warm, inside a process, and cold, as a whole process.

python -m performing.latency MODEL FOLDER COUNT
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from performing.rows import Row, Spread

if TYPE_CHECKING:
    from performing.bench import Bench

_TAIL = 2.5
_COLD_EXPORTED_S, _COLD_FITTED_S, _HELP_S = 1.5, 3.0, 0.3
_WARM_UP = 20


def latency(bench: Bench, count: int) -> list[Row]:
    rows = []
    ways = bench.ways()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    cold: dict[str, list[float]] = {name: [] for name in ways}
    helped = []

    def few() -> Path:
        return bench.to_judge(min(bench.sizes))

    for _ in bench.in_turn("latency"):
        helped.append(bench.run("latency", "--help", bench.help_command).wall_s)
        for name, model in ways.items():
            found[name].append(
                bench.child("latency", f"warm, {name}", "latency", model, few, lambda: str(count))
            )
            cold[name].append(bench.run("latency", f"cold, {name}", partial(_one_image, bench, model)).wall_s)
    for name in ways:
        for figure in ("p50_ms", "p99_ms"):
            spread = Spread.of([one[figure] for one in found[name]])
            rows.append(Row(f"one image, warm, {name}, {figure[:3]}", spread, "ms"))
        tails = Spread.of([one["p99_ms"] / one["p50_ms"] for one in found[name]])
        rows.append(Row(f"one image, warm, {name}, p99 over p50", tails, "×", _TAIL, least=False))
    for name in ways:
        target = _COLD_EXPORTED_S if name.startswith("exported") else _COLD_FITTED_S
        rows.append(Row(f"predict one image, cold, {name}", Spread.of(cold[name]), "s", target, least=False))
    return [*rows, Row("anomalyvfm --help", Spread.of(helped), "s", _HELP_S, least=False)]


def _one_image(bench: Bench, model: Callable[[], Path]) -> Sequence[str | Path]:
    return bench.predict_command(model(), bench.tested[0])


def quantile(ordered: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed."""
    return ordered[max(0, -(-round(share * 1000) * len(ordered) // 1000) - 1)]


def _judge(model: str) -> Any:
    """A function that judges one file, as a library's user would."""
    from anomalyvfm.runtime.manifest import is_exported

    if is_exported(Path(model)):
        from anomalyvfm import runtime

        exported = runtime.load(model)
        return lambda path: exported.predict([path])
    from anomalyvfm.detector import Detector

    detector = Detector.load(model)
    return lambda path: list(detector.judge([path]))


def main(model: str, folder: str, count: int) -> None:
    judge = _judge(model)
    seconds = []
    for path in islice(cycle(sorted(Path(folder).iterdir())), count + _WARM_UP):
        started = time.perf_counter()
        judge(path)
        seconds.append(time.perf_counter() - started)
    ordered = sorted(seconds[_WARM_UP:])
    print(json.dumps({f"p{p}_ms": 1000 * quantile(ordered, p / 100) for p in (50, 99)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
