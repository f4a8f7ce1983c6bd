"""`anomalyvfm predict`: judge images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from anomalyvfm.cli.options import PATH, common, out, report, weights_moved
from anomalyvfm.errors import InputError


@click.command()
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PATH)
@out()
@weights_moved
@click.option(
    "--drift-days",
    type=click.FloatRange(0, min_open=True),
    help="Test whether good images still follow the calibration; days between false alarms, at least.",
)
@click.option(
    "--images-per-day",
    default=1000.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="For --drift-days.",
)
@common
def predict(
    model: Path,
    images: tuple[Path, ...],
    out: Path,
    overwrite: bool,
    backbone: str | None,
    drift_days: float | None,
    images_per_day: float,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Judge IMAGES (files and folders) with MODEL; write predictions.jsonl and maps/ to --out."""
    from anomalyvfm.model_file import check_new
    from anomalyvfm.predictions import find_images, write_predictions

    check_new(out, overwrite)
    paths = find_images(images)
    from anomalyvfm.detector import Detector
    from anomalyvfm.progress import bar

    detector = Detector.load(model, backbone=backbone, device=device)
    drift = None if drift_days is None else detector.drift_test(drift_days * images_per_day, seed)
    tally = write_predictions(detector, paths, out, track=bar, drift=drift)
    if tally.errors == tally.images:
        raise InputError(
            f"none of the {tally.images} images could be judged; {out / 'predictions.jsonl'} says why"
        )
    report(
        as_json,
        {"out": str(out), **asdict(tally)},
        lambda: click.echo(
            f"{tally.anomalous} of {tally.images} images anomalous, {tally.errors} unreadable → {out}"
            + (f"\n{drift.describe()}" if drift else "")
        ),
    )
