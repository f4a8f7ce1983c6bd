"""`anomalyvfm submit`: the archive the MVTec AD 2 benchmark server takes, written or checked."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from anomalyvfm.cli.options import PATH, common, names, out, reading, reading_overrides, report, weights_moved


@click.command()
@click.argument("models", type=PATH, required=False)
@click.argument("data", type=PATH, required=False)
@out(required=False)
@click.option("--categories", help="Comma-separated.  [default: all of DATA; for --check, the eight]")
@weights_moved
@reading
@click.option(
    "--check", type=PATH, metavar="DIR", help="Only name every fault of a submission, or of its .tar.gz."
)
@click.option(
    "--data", "checked_data", type=PATH, help="With --check: the data set it is of.  [default: MVTec AD 2]"
)
@common
def submit(
    models: Path | None,
    data: Path | None,
    out: Path | None,
    overwrite: bool,
    categories: str | None,
    backbone: str | None,
    settings: tuple[str, ...],
    check: Path | None,
    checked_data: Path | None,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Write what the MVTec AD 2 benchmark server takes for DATA's private images, judged by MODELS.

    MODELS is a folder with a model folder for each category. A submission that was interrupted is continued
    by the same command.
    """
    chosen = names(categories) if categories is not None else None
    if check is not None:
        if models or out or overwrite or backbone or settings:
            raise click.UsageError("--check DIR goes with --data and --categories only.")
        _check(check, checked_data, chosen, as_json)
        return
    if checked_data is not None:
        raise click.UsageError("--data goes with --check; name DATA after MODELS.")
    if models is None or data is None or out is None:
        raise click.UsageError("give MODELS, DATA and --out, or --check DIR.")
    from anomalyvfm.files import locked
    from anomalyvfm.submission import benchmark_targets, data_targets
    from anomalyvfm.submission.preparing import check_out, find_models

    changed = reading_overrides(settings)
    targets = data_targets(data, chosen)
    fitted = find_models(models, list(dict.fromkeys(target.category for target in targets)), changed)
    check_out(out, fitted, overwrite)
    click.get_current_context().with_resource(locked(out))
    from anomalyvfm.cli.progress import bar
    from anomalyvfm.submission.writing import write_submission

    written = write_submission(
        fitted, targets, out, overwrite=overwrite, backbone=backbone, device=device, track=bar
    )
    complete = {target.map for target in targets} == {target.map for target in benchmark_targets()}
    if not complete:
        click.echo("note: these are not all images of MVTec AD 2, which its server asks for", err=True)
    report(
        as_json,
        {
            "archive": str(written.archive),
            "categories": list(fitted),
            "images": written.images,
            "judged": written.judged,
            "complete": complete,
            "seconds": round(written.seconds, 3),
        },
        lambda: click.echo(
            f"{written.images} maps and masks of {', '.join(fitted)}, {written.judged} of them written now"
            f" → {written.archive}"
        ),
    )


def _check(place: Path, data: Path | None, categories: list[str] | None, as_json: bool) -> None:
    from anomalyvfm.cli.progress import bar
    from anomalyvfm.submission import benchmark_targets, check_submission, data_targets

    targets = benchmark_targets(categories) if data is None else data_targets(data, categories)
    faults = check_submission(place, targets, bar)
    report(
        as_json,
        {"ok": not faults, "faults": faults},
        lambda: click.echo("\n".join(faults) or f"ok: {len(targets)} maps and masks in {place}"),
    )
    if faults:
        sys.exit(2)
