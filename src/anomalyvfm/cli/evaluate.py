"""`anomalyvfm evaluate`: measure a model on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from anomalyvfm.cli.options import (
    PATH,
    check_order,
    common,
    log_to,
    out,
    reading,
    reading_overrides,
    report,
    reserve,
    weights_moved,
)

_SHOWN_METRICS = (
    "image_auroc",
    "image_ap",
    "image_f1",
    "class_f1",
    "false_alarm_rate",
    "pixel_auroc",
    "pixel_ap",
    "aupro_0.30",
    "aupro_0.05",
    "seg_f1",
)


@click.command()
@click.argument("model", type=PATH)
@click.argument("data", type=PATH)
@out()
@click.option("--category", help="Which category of a data set's root.  [default: the one MODEL learned]")
@click.option(
    "--against",
    type=PATH,
    metavar="MODEL",
    help="Another model: judged on the same images, to tell what of the difference is more than chance.",
)
@log_to
@weights_moved
@reading
@common
def evaluate(
    model: Path,
    data: Path,
    out: Path,
    overwrite: bool,
    category: str | None,
    against: Path | None,
    log: str | None,
    backbone: str | None,
    settings: tuple[str, ...],
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Measure MODEL on the labelled images of DATA; write metrics.json and the figures to --out."""
    from anomalyvfm.data import list_categories, open_dataset
    from anomalyvfm.files import check_apart
    from anomalyvfm.model_folder import read_description

    check_order(model, [data])
    changed = reading_overrides(settings)
    reserve(out, overwrite)
    check_apart(out, model, data, *([] if against is None else [against]))
    description = read_description(model)
    learned = description["fitted_on"]["category"]
    if category is None and learned in list_categories(data):
        category = learned
    images = open_dataset(data, category, seed)
    from anomalyvfm.cli.progress import bar
    from anomalyvfm.detector import Detector
    from anomalyvfm.evaluation.evaluate import evaluate as measure
    from anomalyvfm.evaluation.experiments import Logged, open_log
    from anomalyvfm.evaluation.reports.writing import save_report  # the one place that needs matplotlib

    experiment = None if log is None else open_log(log)
    detector = Detector.load(model, backbone=backbone, device=device, reading=changed)
    other = None
    if against is not None:
        other = str(against), Detector.load(against, backbone=backbone, device=device, reading=changed)
    measured = measure(detector, images, track=bar, against=other)
    save_report(measured, out, overwrite)
    report(as_json, measured.metrics, lambda: _print_metrics(measured.metrics, out))
    if experiment is not None:
        on, learned_with = measured.metrics["category"], description["settings"]
        about = {"folder": str(model), "preset": learned_with["name"], "sha256": description["sha256"]}
        what = {"category": on, "model": about, **learned_with}
        files = sorted(path for path in out.iterdir() if not path.name.startswith("."))
        experiment.add(Logged(f"{model.resolve().name} on {on}", what, measured.metrics, files))


def _print_metrics(metrics: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from anomalyvfm.evaluation.reports.text import SOURCE, compare_with_reported

    table = Table(
        title=f"{metrics['category']}: {metrics['n_good']} good, {metrics['n_bad']} defective",
        title_justify="left",
    )
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("95% interval, or why there is no value")
    for name in _SHOWN_METRICS:
        value, interval = metrics.get(name), metrics["intervals"].get(name)
        note = f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else metrics["reasons"].get(name, "")
        table.add_row(name, "null" if value is None else f"{value:.4f}", note)
    console = Console()
    console.print(table)
    if metrics["against"] is not None:
        console.print(_differences(metrics["against"]))
    for row in compare_with_reported(metrics["layout"], metrics["category"], metrics):
        console.print(f"{SOURCE}: {row.metric} {row.reported:.4f} for pipelines v1 on MVTec AD 2")
    console.print(
        f"{metrics['images_per_s']:.1f} images/s with metrics, peak {metrics['peak_mb']:.0f} MB → {out}"
    )


def _differences(against: dict[str, Any]) -> Any:
    """A table of the differences to another model, or why there is none."""
    from rich.table import Table

    if against["reason"]:
        return f"no difference to {against['model']}: {against['reason']}"
    table = Table(title=f"against {against['model']}, {against['images']} images", title_justify="left")
    table.add_column("metric", no_wrap=True)
    for heading in ("other", "by", "95% interval", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for name, one in against["metrics"].items():
        low, high = one["interval"]
        table.add_row(
            name,
            f"{one['other']:.4f}",
            f"{one['difference']:+.4f}",
            f"{low:+.3f} to {high:+.3f}",
            f"{one['p_value']:.3f}",
            "noise" if one["noise"] else "",
        )
    return table
