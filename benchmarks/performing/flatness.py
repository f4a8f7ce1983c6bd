"""Peak memory, and time, of `fit` and `predict` at 512 px as images grow in number: real ones, repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from performing.bench import Bench
from performing.rows import Row, Spread, ratios

FEW = 500
_SIDE = 512
_LARGEST_MB = 1000.0
_GROWTH = 1.05


def flatness(bench: Bench, many: int) -> list[Row]:
    few = min(FEW, many)
    commands: dict[str, Callable[[int], Sequence[str | Path]]] = {
        "fit": lambda count: bench.fit_command(bench.to_learn(count), bench.new("flat"), side=_SIDE)
    }
    for way, model in bench.ways(_SIDE).items():
        commands[f"predict, {way}"] = partial(_predict, bench, model)
    rows = []
    for name, command in commands.items():
        runs = {
            count: bench.run("flat", f"{name}, {count}", partial(command, count)) for count in (few, many)
        }
        what = f"{name}, {_SIDE} px,"
        for count, run in runs.items():
            peak = Spread.of([run.peak_mb])
            rows.append(Row(f"{what} peak memory, {count} images", peak, "MB", _LARGEST_MB, least=False))
        growth = ratios([runs[many].peak_mb], [runs[few].peak_mb])
        rows.append(Row(f"{what} peak memory, {many} over {few} images", growth, "×", _GROWTH, least=False))
        rows += [
            Row(f"{what} seconds, {count} images", Spread.of([run.wall_s]), "s")
            for count, run in runs.items()
        ]
    return rows


def _predict(bench: Bench, model: Callable[[], Path], count: int) -> Sequence[str | Path]:
    return bench.predict_command(model(), bench.to_judge(count))
