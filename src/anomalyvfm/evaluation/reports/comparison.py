"""comparison.json, comparison.md and comparison.png: pipelines side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from anomalyvfm.evaluation.compare import Run, table
from anomalyvfm.evaluation.experiments import Logged
from anomalyvfm.evaluation.reports import style
from anomalyvfm.evaluation.reports.text import AVERAGE_AUROC, CATEGORY_AUROC, CAVEAT, SOURCE
from anomalyvfm.metrics.difference import Difference, Placements, area_difference

_REFERENCE = "v1.1"
_TESTED = (
    "In brackets after a difference: its 95 % interval for other test images, by DeLong's test. *Noise*:"
    " equal pipelines would differ as much in one of twenty comparisons or more."
)
_SHOWN = {
    "image_auroc": "image AUROC",
    "aupro_0.30": "AU-PRO up to FPR 0.30",
    "aupro_0.05": "AU-PRO up to FPR 0.05",
}


FILES = ("comparison.json", "comparison.md", "comparison.png")


def as_logged(runs: Sequence[Run], name: str, settings: Mapping[str, Any], files: Sequence[Path]) -> Logged:
    """A comparison as experiments are logged: its summary and files, and in it each run that has a result."""
    within = [
        Logged(
            f"{run.pipeline} on {run.category}, seed {run.seed}",
            {"pipeline": run.pipeline, "category": run.category, "seed": run.seed, **settings[run.pipeline]},
            {**run.metrics, "fit_s": run.fit_s, "predict_s": run.predict_s, "images": run.images},
        )
        for run in runs
        if run.error is None
    ]
    asked = {
        key: sorted({str(getattr(run, key)) for run in runs}) for key in ("pipeline", "category", "seed")
    }
    return Logged(name, asked, summary(runs), [path for path in files if path.exists()], within)


def write_comparison(runs: Sequence[Run], folder: Path, settings: dict[str, Any]) -> str:
    """Write the three files into an existing folder; returns the Markdown."""
    text = markdown(runs)
    body = {"settings": settings, "runs": [asdict(run) for run in runs], "summary": summary(runs)}
    (folder / "comparison.json").write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    (folder / "comparison.md").write_text(text, encoding="utf-8")
    if any(run.error is None for run in runs):
        _draw(runs, folder / "comparison.png")
    return text


def summary(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Pipeline → metric → mean over categories and seeds, lowest and highest seed, difference to v1.1.

    Only categories that every pipeline has a value for count, so that averages compare. The difference in
    image AUROC has the interval and the test of `area_difference`, which hold for other images of the same
    categories.
    """
    result: dict[str, dict[str, Any]] = {}
    for metric in _SHOWN:
        values = table(runs, metric)
        common = _common(values)
        if not common:
            continue
        seeds = {name: _over_categories(rows, common) for name, rows in values.items()}
        for name, averages in seeds.items():
            mean = float(np.mean(averages))
            reference = seeds.get(_REFERENCE)
            entry: dict[str, Any] = {
                "mean": mean,
                "lowest": min(averages),
                "highest": max(averages),
                "categories": len(common),
                "difference_to_v1.1": None if reference is None else mean - float(np.mean(reference)),
            }
            if metric == "image_auroc" and reference is not None:
                tested = _tested(runs, name, common)
                entry["difference_interval"] = None if tested is None else tested.interval
                entry["difference_p_value"] = None if tested is None else tested.p_value
                entry["difference_is_noise"] = None if tested is None else tested.noise
            result.setdefault(name, {})[metric] = entry
    for name in result:
        mine = [run for run in runs if run.pipeline == name and run.error is None]
        images = sum(run.images for run in mine)
        result[name]["fit_ms_per_image"] = 1000 * sum(run.fit_s for run in mine) / images
        result[name]["training_share_of_fit"] = sum(run.training_s for run in mine) / sum(
            run.fit_s for run in mine
        )
    return result


def _tested(runs: Sequence[Run], pipeline: str, categories: Sequence[str]) -> Difference | None:
    """The difference in image AUROC to v1.1; None where a category has too few images to test it by."""
    by_place = {(run.pipeline, run.category, run.seed): run for run in runs if run.error is None}
    sets = []
    for category in categories:
        pairs = [
            (run, by_place[_REFERENCE, category, run.seed])
            for run in by_place.values()
            if (run.pipeline, run.category) == (pipeline, category)
            and (_REFERENCE, category, run.seed) in by_place
        ]
        # Where an image could not be read by one of them, the two do not compare image by image.
        if not pairs or any(_few(run.labels) or run.labels != other.labels for run, other in pairs):
            return None
        sets.append(
            [
                Placements.of(run.scores, run.labels) - Placements.of(other.scores, other.labels)
                for run, other in pairs
            ]
        )
    return area_difference(sets)


def _few(labels: Sequence[int]) -> bool:
    return min(sum(labels), len(labels) - sum(labels)) < 2


def markdown(runs: Sequence[Run]) -> str:
    """A table for each metric that has values, the times, and what was reported for MVTec AD 2."""
    seeds = sorted({run.seed for run in runs})
    lines = ["# Comparison", ""]
    several = f"mean of {len(seeds)} seeds (lowest to highest)" if len(seeds) > 1 else f"seed {seeds[0]}"
    totals = summary(runs)
    for metric, title in _SHOWN.items():
        values = table(runs, metric)
        if not values:
            continue
        names = list(dict.fromkeys(run.category for run in runs))
        lines += [f"## {title}, {several}", ""]
        lines += [_row(["pipeline", *names, "average", "to v1.1"]), _row(["---"] * (len(names) + 3))]
        for pipeline, rows in values.items():
            total = totals.get(pipeline, {}).get(metric)
            cells = [_cell(rows.get(name, [])) for name in names]
            average = "" if total is None else _spread(total["mean"], total["lowest"], total["highest"])
            lines.append(_row([pipeline, *cells, average, _difference(pipeline, total)]))
        lines.append("")
        if any(total.get(metric, {}).get("difference_interval") for total in totals.values()):
            lines += [_TESTED, ""]
    lines += ["## Time", "", _row(["pipeline", "fit, ms an image", "of it training"]), _row(["---"] * 3)]
    for pipeline, entry in totals.items():
        share = entry["training_share_of_fit"]
        lines.append(
            _row([pipeline, f"{entry['fit_ms_per_image']:.0f}", f"{share:.0%}" if share else "none"])
        )
    failed = [run for run in runs if run.error is not None]
    if failed:
        lines += ["", "## Without a result", ""]
        lines += [f"- {run.pipeline}, {run.category}, seed {run.seed}: {run.error}" for run in failed]
    return "\n".join([*lines, *_reported(runs)]) + "\n"


def _reported(runs: Sequence[Run]) -> list[str]:
    names = [name for name in CATEGORY_AUROC if any(run.category == name for run in runs)]
    if not names or any(run.layout != "mvtec_ad2" for run in runs):
        return []
    by_category = ", ".join(f"{name} {CATEGORY_AUROC[name]:.4f}" for name in names)
    by_version = ", ".join(f"{name} {value:.4f}" for name, value in AVERAGE_AUROC.items())
    return [
        "",
        f"## Image AUROC on MVTec AD 2, {SOURCE}",
        "",
        f"Averages of seven categories: {by_version}. By category: {by_category}.",
        CAVEAT,
    ]


def _draw(runs: Sequence[Run], path: Path) -> None:
    shown = [metric for metric in _SHOWN if table(runs, metric)]
    categories = list(dict.fromkeys(run.category for run in runs))
    figure = style.new_figure(4.6 * len(shown) + 2.2, 1.9 + 0.62 * (len(categories) + 1))
    for axes, metric in zip(np.atleast_1d(figure.subplots(1, len(shown), sharey=True)), shown, strict=True):
        _panel(axes, runs, metric, categories)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False, fontsize=10
    )
    style.save(figure, path)


# Marker, fill and colour each tell pipelines apart.
_LOOKS = (
    ("o", style.GOOD_DARK),
    ("s", "#009E73"),
    ("^", style.BAD),
    ("v", "#CC79A7"),
    ("D", style.INK),
    ("P", style.MUTED),
    ("X", style.MUTED),
)


def _panel(axes: Axes, runs: Sequence[Run], metric: str, categories: Sequence[str]) -> None:
    values = table(runs, metric)
    common = _common(values)
    rows = [*categories, "average"]
    style.tidy(axes, _SHOWN[metric])
    for number, (pipeline, by_category) in enumerate(values.items()):
        marker, colour = _LOOKS[number % len(_LOOKS)]
        offset = 0.62 * ((number + 0.5) / len(values) - 0.5)
        frozen = pipeline.startswith("frozen")
        data = dict(by_category)
        if common:
            data["average"] = _over_categories(by_category, common)
        for row, name in enumerate(rows):
            seeds = data.get(name)
            if not seeds:
                continue
            height = row + offset
            axes.plot([min(seeds), max(seeds)], [height, height], color=colour, linewidth=1.4)
            axes.plot(
                np.mean(seeds),
                height,
                marker=marker,
                color=colour,
                markerfacecolor="white" if frozen else colour,
                markersize=7,
                linestyle="",
                label=style.plain(pipeline) if row == len(rows) - 1 else None,
            )
    axes.set_yticks(range(len(rows)), [style.plain(style.shorten(name, 18)) for name in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.axhline(len(rows) - 1.5, color=style.MUTED, linewidth=0.8)
    axes.grid(visible=False, axis="y")
    if metric == "image_auroc":
        axes.axvline(0.5, color=style.MUTED, linewidth=0.8, linestyle=":")


def _common(values: dict[str, dict[str, list[float]]]) -> list[str]:
    """Categories every pipeline has values for, with equally many seeds."""
    every = dict.fromkeys(name for rows in values.values() for name in rows)
    return [name for name in every if len({len(rows.get(name, [])) for rows in values.values()}) == 1]


def _over_categories(rows: dict[str, list[float]], names: Sequence[str]) -> list[float]:
    """The average over categories, seed by seed."""
    return [float(np.mean(one)) for one in zip(*(rows[name] for name in names), strict=True)]


def _cell(values: Sequence[float]) -> str:
    return _spread(float(np.mean(values)), min(values), max(values)) if values else "none"


def _difference(pipeline: str, entry: dict[str, Any] | None) -> str:
    """That to v1.1, with what is known of it."""
    if entry is None or entry["difference_to_v1.1"] is None:
        return ""
    value = f"{entry['difference_to_v1.1']:+.4f}"
    if pipeline == _REFERENCE or not entry.get("difference_interval"):
        return value
    low, high = entry["difference_interval"]
    noise = ", noise" if entry["difference_is_noise"] else ""
    return f"{value} ({low:+.4f} to {high:+.4f}{noise})"


def _spread(mean: float, lowest: float, highest: float) -> str:
    return f"{mean:.4f}" if lowest == highest else f"{mean:.4f} ({lowest:.4f} to {highest:.4f})"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
