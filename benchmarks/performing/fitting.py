"""`fit` beside anomalib's PaDiM and PatchCore, and pyimgano's PatchCore, on the same good images.

Ours calibrates as well, by cross-fitting; anomalib is asked for no validation, so its models have no
threshold. Each PatchCore is run once, and no longer than a limit; pyimgano's no longer than a fourth of it.
"""

from __future__ import annotations

from performing.anomalib_commands import Anomalib
from performing.bench import Bench, Command
from performing.pyimgano_commands import Pyimgano
from performing.rows import Row, Spread, ratios

_PADIM, _PATCHCORE = 6.0, 50.0
_LARGEST_MB = 1000.0


def fitting(bench: Bench, patchcore_limit_s: float) -> list[Row]:
    anomalib, pyimgano = Anomalib(bench), Pyimgano(bench)
    ours, padim = [], []
    for _ in bench.in_turn("fit"):
        ours.append(
            bench.run("fit", "ours", lambda: bench.fit_command(bench.to_learn(), bench.new("fitted")))
        )
        padim.append(
            bench.run(
                "fit",
                "anomalib PaDiM",
                lambda: anomalib.fit("padim", bench.to_learn(), bench.new("padim")),
            )
        )
    seconds = [run.wall_s for run in ours]
    name = f"fit {bench.learned} images"
    rows = [
        Row(f"{name}, anomalib PaDiM over ours", ratios([run.wall_s for run in padim], seconds), "×", _PADIM)
    ]
    slow: dict[str, tuple[Command, float]] = {
        "anomalib PatchCore 1 %": (
            lambda: anomalib.fit("patchcore", bench.to_learn(), bench.new("patchcore")),
            patchcore_limit_s,
        ),
        "pyimgano PatchCore 1 %": (
            lambda: pyimgano.fit(bench.to_learn(), bench.new("pyimgano")),
            patchcore_limit_s / 4,
        ),
    }
    for peer, (command, limit_s) in slow.items():
        run = bench.run("fit", f"{peer}, at most {limit_s:.0f} s", command, limit_s=limit_s)
        rows.append(
            Row(
                f"{name}, {peer} over ours",
                ratios([run.wall_s] * len(seconds), seconds),
                "×",
                _PATCHCORE,
                note="run once" if run.finished else f"run once, cut off after {run.wall_s:.0f} s",
                bound=not run.finished,
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
