"""Peak memory of `fit` and `predict` at 512 px as the number of images grows: real images, repeated."""

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
        peaks = {
            count: bench.run("flat", f"{name}, {count}", partial(command, count)).peak_mb
            for count in (few, many)
        }
        what = f"{name}, {_SIDE} px, peak memory,"
        for count, peak in peaks.items():
            figure = Spread.of([peak])
            rows.append(Row(f"{what} {count} images", figure, "MB", _LARGEST_MB, least=False))
        growth = ratios([peaks[many]], [peaks[few]])
        rows.append(Row(f"{what} {many} over {few} images", growth, "×", _GROWTH, least=False))
    return rows


def _predict(bench: Bench, model: Callable[[], Path], count: int) -> Sequence[str | Path]:
    return bench.predict_command(model(), bench.to_judge(count))
