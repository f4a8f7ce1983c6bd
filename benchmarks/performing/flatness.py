"""Peak memory of `fit` and `predict` as the number of images grows: real images, repeated."""

from __future__ import annotations

from performing.bench import Bench
from performing.rows import Row, Spread, ratios

FEW = 500
_LARGEST_MB = 1000.0
_GROWTH = 1.05


def flatness(bench: Bench, many: int) -> list[Row]:
    rows = []
    peaks: dict[str, dict[int, float]] = {}
    for count in (min(FEW, many), many):
        command = bench.fit_command(bench.to_learn(count), bench.new("flat"))
        peaks.setdefault("fit", {})[count] = bench.run("flat", f"fit {count}", command).peak_mb
        for name, model in bench.ways.items():
            command = bench.predict_command(model, bench.to_judge(count), bench.new("flat"))
            run = bench.run("flat", f"predict {count}, {name}", command)
            peaks.setdefault(f"predict, {name}", {})[count] = run.peak_mb
    for name, by_count in peaks.items():
        few, *_, last = by_count
        rows += [
            Row(f"{name}, peak memory, {count} images", Spread.of([peak]), "MB", _LARGEST_MB, least=False)
            for count, peak in by_count.items()
        ]
        growth = ratios([by_count[last]], [by_count[few]])
        rows.append(Row(f"{name}, peak memory, {last} over {few} images", growth, "×", _GROWTH, least=False))
    return rows
