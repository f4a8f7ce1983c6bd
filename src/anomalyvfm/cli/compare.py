"""`anomalyvfm compare`: pipelines side by side on the same images."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click

from anomalyvfm.cli.engine import engine_options, given_cluster, shown, summary
from anomalyvfm.cli.options import PATH, common, image_size, log_to, names, out, overrides, report, setting
from anomalyvfm.errors import InputError


@click.command()
@click.argument("data", type=PATH)
@out()
@click.option("--presets", default="v1.1,v1.2,v1.3,v1.4,v2", show_default=True, help="Comma-separated.")
@click.option("--categories", help="Comma-separated.  [default: all of DATA]")
@click.option("--backbone", help="Name, or folder in the model hub's format.  [default: the presets']")
@image_size("the presets'")
@click.option(
    "--seeds", default=1, show_default=True, type=click.IntRange(1), help="How many, from --seed on."
)
@click.option(
    "--baseline/--no-baseline", default=True, show_default=True, help="Also the features without LoRA."
)
@log_to
@engine_options
@setting("A setting of every preset that has it.")
@common
def compare(
    data: Path,
    out: Path,
    overwrite: bool,
    presets: str,
    categories: str | None,
    backbone: str | None,
    image_size: str | None,
    seeds: int,
    baseline: bool,
    log: str | None,
    engine: str,
    workers: int | None,
    address: str | None,
    settings: tuple[str, ...],
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Fit and evaluate pipelines on the categories of DATA; write comparison.json, .md and .png.

    A comparison that was interrupted, or is to have more pipelines or seeds, is continued by the same
    command: runs that are in --out already are not made again.
    """
    from anomalyvfm.data import list_categories, open_dataset
    from anomalyvfm.files import check_apart

    cluster = given_cluster(engine, workers, address)
    check_apart(out, data)
    chosen = list(dict.fromkeys(names(categories))) if categories else list_categories(data)
    for name in chosen:
        open_dataset(data, name, seed)  # a category that is not there is said at once
    from anomalyvfm.cli.progress import status
    from anomalyvfm.evaluation.compare import compare as run_all
    from anomalyvfm.evaluation.compare import open_comparison, pipelines
    from anomalyvfm.evaluation.experiments import open_log
    from anomalyvfm.evaluation.reports.comparison import FILES, as_logged, write_comparison

    experiment = None if log is None else open_log(log)
    compared = pipelines(names(presets), overrides(backbone, image_size, settings), baseline, device)
    click.get_current_context().with_resource(open_comparison(out, overwrite))
    given = data, chosen, compared, range(seed, seed + seeds), out, device
    if cluster is not None:
        from anomalyvfm.cluster.comparing import ClusterCompare

        there = ClusterCompare(cluster, partial(shown, "comparing"))
        there.compare(*given)
        click.echo(summary(there.summary), err=True)
    with status("comparing") as say:  # what is in --out by now is taken as it is
        runs = run_all(*given, say)
    chosen_settings = {one.label: one.settings.model_dump(mode="json") for one in compared}
    text = write_comparison(runs, out, chosen_settings)
    if all(run.error is not None for run in runs):
        raise InputError(f"no pipeline gave a result; the first: {runs[0].error}")
    report(as_json, json.loads((out / "comparison.json").read_text()), lambda: click.echo(f"{text}→ {out}"))
    if experiment is not None:
        files = [out / name for name in FILES]
        experiment.add(
            as_logged(runs, f"{data.resolve().name} by {len(compared)} pipelines", chosen_settings, files)
        )
