"""`fit` beside anomalib's PaDiM and PatchCore on the same good images.

Ours calibrates as well, by cross-fitting; anomalib is asked for no validation, so its models have no
threshold.
"""

from __future__ import annotations

from performing.anomalib_commands import Anomalib
from performing.bench import Bench
from performing.rows import Row, Spread, ratios

_PADIM, _PATCHCORE = 6.0, 50.0
_LARGEST_MB = 1000.0


def fitting(bench: Bench, patchcore_limit_s: float) -> list[Row]:
    """Rounds of ours and PaDiM; PatchCore, which takes long, once, and no longer than its limit."""
    anomalib = Anomalib(bench)
    images = bench.to_learn()
    ours, padim = [], []
    for _ in range(bench.rounds):
        ours.append(bench.run("fit", "ours", bench.fit_command(images, bench.new("fitted"))))
        command = anomalib.fit("padim", images, bench.new("padim"))
        padim.append(bench.run("fit", "anomalib PaDiM", command))
    seconds = [run.wall_s for run in ours]
    name = f"fit {bench.learned} images"
    rows = [
        Row(f"{name}, anomalib PaDiM over ours", ratios([run.wall_s for run in padim], seconds), "×", _PADIM)
    ]
    if patchcore_limit_s > 0:
        command = anomalib.fit("patchcore", images, bench.new("patchcore"))
        patchcore = bench.run("fit", "anomalib PatchCore 1 %", command, limit_s=patchcore_limit_s)
        note = "run once" if patchcore.finished else f"run once, cut off after {patchcore.wall_s:.0f} s"
        rows.append(
            Row(
                f"{name}, anomalib PatchCore with a coreset of 1 % over ours",
                ratios([patchcore.wall_s] * len(seconds), seconds),
                "×",
                _PATCHCORE,
                note=note,
                bound=not patchcore.finished,
            )
        )
    return [
        *rows,
        Row(f"{name}, ours", Spread.of(seconds), "s", note="whole process"),
        Row(f"{name}, anomalib PaDiM", Spread.of([run.wall_s for run in padim]), "s", note="whole process"),
        Row(
            "fit, peak memory, ours", Spread.of([run.peak_mb for run in ours]), "MB", _LARGEST_MB, least=False
        ),
        Row("fit, peak memory, anomalib PaDiM", Spread.of([run.peak_mb for run in padim]), "MB"),
    ]
