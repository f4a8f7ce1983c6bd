"""`anomalyvfm predict`: judge images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomalyvfm.cli.options import PATH, common, out, report, weights_moved
from anomalyvfm.errors import InputError

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector
    from anomalyvfm.predictions import Maps
    from anomalyvfm.runtime import Runtime


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
@click.option(
    "--maps",
    default="all",
    show_default=True,
    type=click.Choice(["all", "anomalous", "none"]),
    help="Of which images an overlay is written.",
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
    maps: Maps,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Judge IMAGES (files and folders) with MODEL; write predictions.jsonl and maps/ to --out.

    MODEL is a fitted model's folder or an exported one; the latter starts in a second and needs no torch.
    """
    from anomalyvfm.files import check_new
    from anomalyvfm.predictions import find_images, write_predictions

    check_new(out, overwrite)
    paths = find_images(images)
    from anomalyvfm.progress import bar

    detector = _judge(model, backbone, device)
    drift = None if drift_days is None else detector.drift_test(drift_days * images_per_day, seed)
    tally = write_predictions(detector, paths, out, track=bar, drift=drift, maps=maps)
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


def _judge(model: Path, backbone: str | None, device: str) -> Detector | Runtime:
    """The fitted or exported model in a folder."""
    from anomalyvfm.runtime.manifest import is_exported

    if not is_exported(model):
        from anomalyvfm.detector import Detector

        return Detector.load(model, backbone=backbone, device=device)
    if backbone is not None:
        raise InputError(f"--backbone: {model} is an exported model and holds its backbone; leave it out")
    if device not in ("auto", "cpu"):
        raise InputError(
            f"--device {device}: {model} is an exported model, which runs on the CPU; leave it out"
        )
    from anomalyvfm.runtime import load

    return load(model)
