"""`anomalyvfm predict`: judge images."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalyvfm.cli.engine import engine_options, given_cluster, parts_folder, shown, summary
from anomalyvfm.cli.options import (
    PATH,
    PLACE,
    check_order,
    common,
    is_model,
    out,
    reading,
    reading_overrides,
    report,
    reserve,
    weights_moved,
)
from anomalyvfm.errors import InputError

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector
    from anomalyvfm.predictions.writing import Maps, Tally
    from anomalyvfm.runtime import Runtime


@click.command()
@click.argument("model", type=PATH)
@click.argument("images", nargs=-1, required=True, type=PLACE)
@out()
@weights_moved
@reading
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
    default="anomalous",
    show_default=True,
    type=click.Choice(["all", "anomalous", "none", "raw"]),
    help="Of which images an overlay is written, a JPEG; raw: maps of all as float32 TIFF of their size.",
)
@click.option("--masks", is_flag=True, help="Also write masks, PNG of 0 and 255 of the images' size.")
@click.option("--csv", "as_csv", is_flag=True, help="Also write predictions.csv.")
@click.option("--coco", "as_coco", is_flag=True, help="Also write coco.json, and the masks it is made of.")
@click.option(
    "--false-alarm-rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of good images to be rejected at most.  [default: the model's]",
)
@click.option("--recursive", is_flag=True, help="Also the images in sub-folders of folders with images.")
@click.option("--resume", is_flag=True, help="Go on with a run that was interrupted.")
@engine_options
@common
def predict(
    model: Path,
    images: tuple[Path | str, ...],
    out: Path,
    overwrite: bool,
    backbone: str | None,
    settings: tuple[str, ...],
    drift_days: float | None,
    images_per_day: float,
    maps: Maps,
    masks: bool,
    as_csv: bool,
    as_coco: bool,
    false_alarm_rate: float | None,
    recursive: bool,
    resume: bool,
    engine: str,
    workers: int | None,
    address: str | None,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Judge IMAGES with MODEL; write predictions.jsonl and maps/ to --out.

    IMAGES are files, folders, patterns such as "parts/*.png", a .txt file that lists them, or addresses in
    stores such as s3://bucket/lot-7.

    MODEL is a fitted model's folder or an exported one; the latter starts in a second and needs no torch.
    Of a folder of models, as `fit --all` writes, each judges the images that lie in a folder of its name,
    and has a folder in --out.
    """
    from anomalyvfm.files import locked
    from anomalyvfm.predictions.finding import find_images, share_out

    if resume and overwrite:
        raise click.UsageError("--resume goes on with what is in --out, --overwrite replaces it; choose one.")
    cluster = given_cluster(engine, workers, address)
    check_order(model, images)
    changed = reading_overrides(settings)
    models = _models_in(model)
    found = find_images(images, recursive)
    shares = {out: (model, found)}
    if models:
        shares = {out / name: (models[name], own) for name, own in share_out(found, models).items()}
    for folder in shares:
        if resume:
            click.get_current_context().with_resource(locked(folder))
        else:
            reserve(folder, overwrite)
    from anomalyvfm.cli.progress import bar
    from anomalyvfm.predictions.tables import write_coco, write_csv
    from anomalyvfm.predictions.writing import Output, write_predictions

    if cluster is not None:
        from anomalyvfm.cluster.predicting import ClusterPredict

    results: dict[Path, tuple[Tally, str]] = {}
    summaries: dict[Path, dict[str, Any]] = {}
    for folder, (place, paths) in shares.items():
        judge, sha256 = load_judge(place, backbone, device, changed, false_alarm_rate)
        drift = None if drift_days is None else judge.drift_test(drift_days * images_per_day, seed)
        output = Output(
            drift,
            maps,
            masks or as_coco,
            {"model": sha256, "false_alarm_rate": false_alarm_rate, **changed},
            [write_csv] * as_csv + [write_coco] * as_coco,
        )
        if cluster is None:
            tally = write_predictions(judge, paths, folder, output, bar, resume)
        else:
            there = judge.runs_on
            load = partial(_judge, place, backbone, there, changed, false_alarm_rate)
            show = partial(shown, "judging")
            parts = ClusterPredict(cluster, parts_folder(folder), load, place, there == "cuda", resume, show)
            tally = parts.predict(judge, paths, folder, output, bar)
            summaries[folder] = parts.summary
            shutil.rmtree(parts.folder, ignore_errors=True)
        results[folder] = tally, (f"\n{drift.describe()}" if drift else "")
    _require_judged(results)
    told = {folder: {"cluster": of} for folder, of in summaries.items() if of}
    bodies = [
        {"out": str(folder), **asdict(tally), **told.get(folder, {})}
        for folder, (tally, _) in results.items()
    ]
    report(as_json, {"models": bodies} if models else bodies[0], lambda: _print(results, summaries))


def _require_judged(results: dict[Path, tuple[Tally, str]]) -> None:
    """Raise InputError where no image could be judged."""
    from anomalyvfm.predictions.writing import PREDICTIONS

    if all(tally.errors == tally.images for tally, _ in results.values()):
        count = sum(tally.images for tally, _ in results.values())
        with (next(iter(results)) / PREDICTIONS).open(encoding="utf-8") as stream:
            first = json.loads(stream.readline())["error"]
        raise InputError(f"none of the {count} images could be judged; the first: {first}")


def _print(results: dict[Path, tuple[Tally, str]], summaries: dict[Path, dict[str, Any]]) -> None:
    for folder, (tally, drift) in results.items():
        counted = f"{tally.anomalous} of {tally.images} images anomalous, {tally.errors} unreadable"
        click.echo(f"{counted} → {folder}{drift}")
        if summaries.get(folder):
            click.echo(summary(summaries[folder]))


def _models_in(folder: Path) -> dict[str, Path]:
    """The models in the folders of a folder that is none itself, by their folders' names."""
    if is_model(folder) or not folder.is_dir():
        return {}
    return {child.name: child for child in sorted(folder.iterdir()) if is_model(child)}


def load_judge(
    model: Path, backbone: str | None, device: str, changed: dict[str, Any], rate: float | None
) -> tuple[Detector | Runtime, str]:
    """The fitted or exported model in a folder, at the ``rate`` of false alarms if given; its checksum."""
    judge, sha256 = _load(model, backbone, device, changed)
    return judge if rate is None else judge.with_false_alarm_rate(rate), sha256


def _judge(
    model: Path, backbone: str | None, device: str, changed: dict[str, Any], rate: float | None
) -> Detector | Runtime:
    """As `load_judge`, for workers."""
    return load_judge(model, backbone, device, changed, rate)[0]


def _load(
    model: Path, backbone: str | None, device: str, changed: dict[str, Any]
) -> tuple[Detector | Runtime, str]:
    from anomalyvfm.runtime.manifest import is_exported

    if not is_exported(model):
        from anomalyvfm.model_folder import read_description

        sha256 = read_description(model)["sha256"]
        from anomalyvfm.detector import Detector

        return Detector.load(model, backbone=backbone, device=device, reading=changed), sha256
    if backbone is not None:
        raise InputError(f"--backbone: {model} is an exported model and holds its backbone; leave it out")
    if device not in ("auto", "cpu"):
        raise InputError(
            f"--device {device}: {model} is an exported model, which runs on the CPU; leave it out"
        )
    from anomalyvfm.runtime import load

    runtime = load(model, reading=changed)
    return runtime, runtime.manifest["sha256"]
