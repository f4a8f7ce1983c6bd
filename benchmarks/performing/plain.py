"""v2 beside the plain Gaussian it grew from: one pass over the images, positions alone, nothing kept to show.

v2 calibrates by cross-fitting all it learned, the plain one by two of its images.
"""

from __future__ import annotations

import json
from pathlib import Path

from performing.bench import Bench
from performing.rows import Row, Spread, marginal_rates, ratios

_MOST = 2.0
_PLAIN = {
    "gaussian.context_dimensions": 0,
    "gaussian.light_share": 0,
    "gaussian.summary_weight": 0,
    "gallery.images": 0,
    "calibration.images": 2,  # next to no cross-fitting
}


def plain(bench: Bench) -> list[Row]:
    images = bench.to_learn()
    overrides = [text for key, value in _PLAIN.items() for text in ("--set", f"{key}={value}")]
    fit_s: dict[str, list[float]] = {"v2": [], "plain": []}
    predict_s: dict[str, dict[int, list[float]]] = {name: {n: [] for n in bench.sizes} for name in fit_s}
    for _ in range(bench.rounds):
        for name, settings in (("v2", []), ("plain", overrides)):
            model = bench.new(name)
            bench.run("plain", f"fit, {name}", [*bench.fit_command(images, model), *settings])
            fit_s[name].append(_fit_seconds(model))
            for size in bench.sizes:
                command = bench.predict_command(model, bench.to_judge(size), bench.new("verdicts"))
                command += ["--maps", "none"]
                predict_s[name][size].append(bench.run("plain", f"predict {size}, {name}", command).wall_s)
    small, large = bench.sizes
    rates = {
        name: marginal_rates(small, seconds[small], large, seconds[large])
        for name, seconds in predict_s.items()
    }
    return [
        Row(
            f"fit {bench.learned} images, v2 over the plain Gaussian, start-up apart",
            ratios(fit_s["v2"], fit_s["plain"]),
            "×",
            _MOST,
            least=False,
        ),
        Row(
            "predict beyond start-up, no pictures, v2 over the plain Gaussian",
            ratios(rates["plain"], rates["v2"]),
            "×",
            _MOST,
            least=False,
        ),
        Row("fit, the plain Gaussian", Spread.of(fit_s["plain"]), "s"),
    ]


def _fit_seconds(model: Path) -> float:
    seconds: float = json.loads((model / "model.json").read_text(encoding="utf-8"))["fitted_on"]["seconds"]
    return seconds
