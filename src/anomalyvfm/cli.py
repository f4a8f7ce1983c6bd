"""The command line: parse, call, print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalyvfm import __version__
from anomalyvfm.errors import InputError

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector

_PATH = click.Path(path_type=Path)


class _OneLineErrors(click.Group):
    """Exit status 2 and one line on stderr when the input is wrong, 130 after Ctrl-C; else it is a bug."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
            return super().main(*args, **kwargs)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "anomalyvfm"
            message = " ".join(error.format_message().split())
            _fail(f"{command}: {message} See `{command} --help`.", 2)
        except (InputError, click.ClickException) as error:
            _fail(str(error), 2)
        except (click.Abort, KeyboardInterrupt):
            _fail("stopped; nothing unfinished bears a final name", 130)


def _fail(message: str, status: int) -> None:
    click.echo(f"error: {message}", err=True)
    sys.exit(status)


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options every command takes."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, mps."),
        click.option(
            "--seed",
            default=0,
            show_default=True,
            type=click.IntRange(0),
            help="Seed of every random choice.",
        ),
    ):
        command = option(command)
    return command


def _out(**settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Where results go, and whether they may replace what is there."""
    out = click.option("--out", type=_PATH, help="A new folder.", **(settings or {"required": True}))
    overwrite = click.option("--overwrite", is_flag=True, help="Replace what is in --out.")
    return lambda command: out(overwrite(command))


def _report(as_json: bool, data: dict[str, Any], text: Callable[[], None]) -> None:
    if as_json:
        click.echo(json.dumps(data, indent=2, allow_nan=False))
    else:
        text()


@click.group(cls=_OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="anomalyvfm")
def main() -> None:
    """Learn good parts from good images alone; find and outline defects never seen."""


def _overrides(backbone: str | None, image_size: int | None, settings: tuple[str, ...]) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: write it as key=value, e.g. --set image.size=256")
        overrides[key.strip()] = value.strip()
    if backbone is not None:
        from anomalyvfm.backbones import NAMES

        # A folder is kept absolute, for the model will be used from elsewhere.
        is_folder = backbone not in NAMES and Path(backbone).exists()
        overrides["backbone"] = str(Path(backbone).resolve()) if is_folder else backbone
    if image_size is not None:
        overrides["image.size"] = image_size
    return overrides


@main.command()
@click.argument("data", type=_PATH)
@_out()
@click.option("--preset", default="v2", show_default=True, help="Which pipeline.")
@click.option("--backbone", help="Name, or folder in the model hub's format.  [default: the preset's]")
@click.option("--category", help="Which category of a data set's root.")
@click.option(
    "--image-size", type=int, help="Side in pixels images are resized to.  [default: the backbone's]"
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting; `info` lists them."
)
@click.option(
    "--checkpoint", type=_PATH, help="Keep the state of the training in this file, and go on from it."
)
@_common
def fit(
    data: Path,
    out: Path,
    overwrite: bool,
    preset: str,
    backbone: str | None,
    category: str | None,
    image_size: int | None,
    settings: tuple[str, ...],
    checkpoint: Path | None,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Learn from the good images in DATA: a folder, a category, or a data set's root with --category."""
    from anomalyvfm.data import open_dataset
    from anomalyvfm.model_file import check_apart, check_new
    from anomalyvfm.presets import preset as named_preset

    chosen = named_preset(preset).override(_overrides(backbone, image_size, settings))
    check_new(out, overwrite)
    check_apart(out, data)
    images = open_dataset(data, category, seed)
    # Only now torch: whatever is wrong above is said at once.
    from anomalyvfm.detector import Detector
    from anomalyvfm.progress import bar

    detector = Detector(chosen, device=device, seed=seed).fit(images, track=bar, checkpoint=checkpoint)
    detector.save(out, overwrite=overwrite)
    _warn_about_fit(detector)
    _report(
        as_json, {"model": str(out), **detector.describe()}, lambda: _print_model(out, detector.describe())
    )


@main.command()
@click.argument("model", type=_PATH)
@click.argument("images", nargs=-1, required=True, type=_PATH)
@_out()
@click.option("--backbone", help="Where the backbone's weights are now, if they have moved since the fit.")
@_common
def predict(
    model: Path,
    images: tuple[Path, ...],
    out: Path,
    overwrite: bool,
    backbone: str | None,
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

    tally = write_predictions(Detector.load(model, backbone=backbone, device=device), paths, out, track=bar)
    if tally.errors == tally.images:
        raise InputError(
            f"none of the {tally.images} images could be judged; {out / 'predictions.jsonl'} says why"
        )
    _report(
        as_json,
        {"out": str(out), **asdict(tally)},
        lambda: click.echo(
            f"{tally.anomalous} of {tally.images} images anomalous, {tally.errors} unreadable → {out}"
        ),
    )


@main.command()
@click.argument("model", type=_PATH)
@click.argument("data", type=_PATH)
@_out()
@click.option("--category", help="Which category of a data set's root.  [default: the one MODEL learned]")
@click.option("--backbone", help="Where the backbone's weights are now, if they have moved since the fit.")
@_common
def evaluate(
    model: Path,
    data: Path,
    out: Path,
    overwrite: bool,
    category: str | None,
    backbone: str | None,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Measure MODEL on the labelled images of DATA; write metrics.json and the figures to --out."""
    from anomalyvfm.data import list_categories, open_dataset
    from anomalyvfm.model_file import check_apart, check_new, read_description

    check_new(out, overwrite)
    check_apart(out, model, data)
    learned = read_description(model)["fitted_on"]["category"]
    if category is None and learned in list_categories(data):
        category = learned
    images = open_dataset(data, category, seed)
    from anomalyvfm.detector import Detector
    from anomalyvfm.evaluation import evaluate as measure
    from anomalyvfm.progress import bar

    report = measure(Detector.load(model, backbone=backbone, device=device), images, track=bar)
    report.save(out, overwrite)
    _report(as_json, report.metrics, lambda: _print_metrics(report.metrics, out))


@main.command()
@click.argument("models", type=_PATH, required=False)
@click.argument("data", type=_PATH, required=False)
@_out(required=False)
@click.option("--categories", help="Comma-separated.  [default: all of DATA; for --check, the eight]")
@click.option("--backbone", help="Where the backbone's weights are now, if they have moved since the fit.")
@click.option(
    "--check", type=_PATH, metavar="DIR", help="Only name every fault of a submission, or of its .tar.gz."
)
@click.option(
    "--data", "checked_data", type=_PATH, help="With --check: the data set it is of.  [default: MVTec AD 2]"
)
@_common
def submit(
    models: Path | None,
    data: Path | None,
    out: Path | None,
    overwrite: bool,
    categories: str | None,
    backbone: str | None,
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
    chosen = [name.strip() for name in categories.split(",")] if categories is not None else None
    if check is not None:
        if models or out or overwrite or backbone:
            raise click.UsageError("--check DIR goes with --data and --categories only.")
        _check_submission(check, checked_data, chosen, as_json)
        return
    if checked_data is not None:
        raise click.UsageError("--data goes with --check; name DATA after MODELS.")
    if models is None or data is None or out is None:
        raise click.UsageError("give MODELS, DATA and --out, or --check DIR.")
    from anomalyvfm.submission import benchmark_targets, data_targets
    from anomalyvfm.submission.preparing import check_out, find_models

    targets = data_targets(data, chosen)
    fitted = find_models(models, list(dict.fromkeys(target.category for target in targets)))
    check_out(out, fitted, overwrite)
    from anomalyvfm.progress import bar
    from anomalyvfm.submission.writing import write_submission

    written = write_submission(
        fitted, targets, out, overwrite=overwrite, backbone=backbone, device=device, track=bar
    )
    complete = {target.map for target in targets} == {target.map for target in benchmark_targets()}
    if not complete:
        click.echo("note: these are not all images of MVTec AD 2, which its server asks for", err=True)
    _report(
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


def _check_submission(place: Path, data: Path | None, categories: list[str] | None, as_json: bool) -> None:
    from anomalyvfm.progress import bar
    from anomalyvfm.submission import benchmark_targets, check_submission, data_targets

    targets = benchmark_targets(categories) if data is None else data_targets(data, categories)
    faults = check_submission(place, targets, bar)
    _report(
        as_json,
        {"ok": not faults, "faults": faults},
        lambda: click.echo("\n".join(faults) or f"ok: {len(targets)} maps and masks in {place}"),
    )
    if faults:
        sys.exit(2)


@main.command()
@_out()
@click.option("--categories", help="Comma-separated; all eight by default.")
@click.option(
    "--images", default=60, show_default=True, type=click.IntRange(2), help="Good images to train on."
)
@click.option("--size", default=256, show_default=True, type=click.IntRange(32, 4096), help="Side in pixels.")
@_common
def generate(
    out: Path,
    overwrite: bool,
    categories: str | None,
    images: int,
    size: int,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Draw a data set in the layout of MVTec AD 2: eight products, five lightings, exact masks."""
    from anomalyvfm.data.generated import CATEGORIES
    from anomalyvfm.data.generated import generate as draw
    from anomalyvfm.model_file import new_folder
    from anomalyvfm.progress import status

    chosen = [name.strip() for name in categories.split(",")] if categories else CATEGORIES
    with new_folder(out, overwrite) as folder, status("drawing") as say:
        written = draw(folder, chosen, images, size, seed, say)
    _report(
        as_json,
        {"out": str(out), "files": written},
        lambda: click.echo("\n".join(f"{name}: {count} files" for name, count in written.items())),
    )


@main.command()
@click.argument("data", type=_PATH)
@_out()
@click.option("--preset", default="v1.1", show_default=True, help="Which pipeline's defects.")
@click.option("--backbone", help="Needed only where the category's group is not known.")
@click.option("--category", help="Which category of a data set's root.")
@click.option("--image-size", type=int, help="Side in pixels images are resized to.  [default: the preset's]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any other setting, e.g. synthesis.severity=2.",
)
@_common
def synthesize(
    data: Path,
    out: Path,
    overwrite: bool,
    preset: str,
    backbone: str | None,
    category: str | None,
    image_size: int | None,
    settings: tuple[str, ...],
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Write the synthetic defects a pipeline trains on, made from the good images in DATA."""
    from anomalyvfm.data import open_dataset
    from anomalyvfm.model_file import check_apart, new_folder
    from anomalyvfm.presets import AdaptedPreset
    from anomalyvfm.presets import preset as named_preset

    chosen = named_preset(preset).override(_overrides(backbone, image_size, settings))
    if not isinstance(chosen, AdaptedPreset):
        raise InputError(f"{preset} trains on no synthetic defects; choose --preset v1.1, v1.2, v1.3 or v1.4")
    check_apart(out, data)
    images = open_dataset(data, category, seed)
    from anomalyvfm.progress import bar
    from anomalyvfm.synthetic_data import write_synthetic

    with new_folder(out, overwrite) as folder:
        counts = write_synthetic(images, chosen, folder, device, seed, bar)
    made = ", ".join(f"{count} {stage}" for stage, count in counts.items())
    _report(
        as_json,
        {"out": str(out), "counts": counts},
        lambda: click.echo(f"{made} → {out}/contact_sheet.png"),
    )


@main.command()
@click.argument("data", type=_PATH)
@_out()
@click.option("--presets", default="v1.1,v1.2,v1.3,v1.4,v2", show_default=True, help="Comma-separated.")
@click.option("--categories", help="Comma-separated.  [default: all of DATA]")
@click.option("--backbone", help="Name, or folder in the model hub's format.  [default: the presets']")
@click.option("--image-size", type=int, help="Side in pixels images are resized to.  [default: the presets']")
@click.option(
    "--seeds", default=1, show_default=True, type=click.IntRange(1), help="How many, from --seed on."
)
@click.option(
    "--baseline/--no-baseline", default=True, show_default=True, help="Also the features without LoRA."
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of every preset that has it."
)
@_common
def compare(
    data: Path,
    out: Path,
    overwrite: bool,
    presets: str,
    categories: str | None,
    backbone: str | None,
    image_size: int | None,
    seeds: int,
    baseline: bool,
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
    from anomalyvfm.model_file import check_apart

    check_apart(out, data)
    names = [name.strip() for name in categories.split(",")] if categories else list_categories(data)
    for name in names:
        open_dataset(data, name, seed)  # a category that is not there is said at once
    from anomalyvfm.comparison import compare as run_all
    from anomalyvfm.comparison import open_comparison, pipelines
    from anomalyvfm.progress import status
    from anomalyvfm.reports.comparison import write_comparison

    overrides = _overrides(backbone, image_size, settings)
    compared = pipelines([name.strip() for name in presets.split(",")], overrides, baseline)
    open_comparison(out, overwrite)
    with status("comparing") as say:
        runs = run_all(data, names, compared, range(seed, seed + seeds), out, device, say)
    text = write_comparison(runs, out, {one.label: one.settings.model_dump(mode="json") for one in compared})
    if all(run.error is not None for run in runs):
        raise InputError(f"no pipeline gave a result; the first: {runs[0].error}")
    _report(as_json, json.loads((out / "comparison.json").read_text()), lambda: click.echo(f"{text}→ {out}"))


@main.command()
@click.argument("model", type=_PATH)
@_common
def info(model: Path, as_json: bool, device: str, seed: int) -> None:
    """Say what MODEL is: backbone, settings, calibration, what it learned."""
    from anomalyvfm.model_file import read_description

    description = read_description(model)
    _report(as_json, description, lambda: _print_model(model, description, settings=True))


@main.command()
@_common
def doctor(as_json: bool, device: str, seed: int) -> None:
    """Check this machine: versions, devices, weights, and the whole chain on drawn images."""
    from anomalyvfm.doctor import examine

    findings = examine(device)
    ready = all(finding.ok or not finding.needed for finding in findings)
    _report(
        as_json,
        {"ok": ready, "findings": [asdict(finding) for finding in findings]},
        lambda: click.echo("\n".join(f"{_MARKS[f.ok, f.needed]} {f.what}: {f.found}" for f in findings)),
    )
    if not ready:
        sys.exit(2)


@main.command()
@_out(default="anomalyvfm-demo", show_default=True)
@_common
def demo(out: Path, overwrite: bool, as_json: bool, device: str, seed: int) -> None:
    """Learn real solar cells from good ones, judge the rest, and show the worst."""
    from anomalyvfm.model_file import check_new

    check_new(out, overwrite)
    from anomalyvfm.demo import run_demo
    from anomalyvfm.progress import bar

    result = run_demo(out, overwrite, device, seed, bar)
    _report(as_json, result, lambda: _print_demo(result))


_MARKS = {(True, True): "ok", (True, False): "ok", (False, True): "NO", (False, False): "--"}


def _warn_about_fit(detector: Detector) -> None:
    for message in detector.skipped_[:5]:
        click.echo(f"skipped: {message}", err=True)
    if skipped := len(detector.skipped_):
        click.echo(f"skipped {skipped} image{'s' * (skipped != 1)} that could not be read", err=True)
    calibration = detector.calibration_
    if not calibration.promised:
        click.echo(
            f"warning: only {calibration.count} held out to calibrate with; a false-alarm promise of"
            f" {calibration.false_alarm_rate:.2%} takes {calibration.images_needed}, so the threshold is"
            " extrapolated from their spread",
            err=True,
        )


def _print_model(folder: Path, description: dict[str, Any], settings: bool = False) -> None:
    fitted, calibration = description["fitted_on"], description["calibration"]
    canvas, backbone = description["canvas"], description["backbone"]
    kept = "conformal" if calibration["promised"] else "extrapolated from too few images"
    rows = [
        ("model", str(folder)),
        ("learned", f"{fitted['images']} good images of {fitted['category']} in {fitted['seconds']:.1f} s"),
        ("skipped", f"{fitted['skipped']} unreadable"),
        (
            "backbone",
            f"{backbone['name']}, layers {backbone['layers']}, weights {backbone['weight_hash'][:12]}",
        ),
        ("canvas", f"{canvas['height']}×{canvas['width']} px, {canvas['aspect']}"),
        (
            "threshold",
            f"{calibration['threshold']:.3f}: at most {calibration['false_alarm_rate']:.2%} of good images"
            f" above ({kept}; {calibration['images']} held out)",
        ),
    ]
    if (grid := description.get("grid")) is not None:
        shape = f"{grid['height']}×{grid['width']} × {grid['dimensions']} of {grid['channels']} channels"
        rows.insert(-1, ("grid", shape))
    if (trained := description["adaptation"]) is not None:
        made = ", ".join(f"{count} {stage}" for stage, count in trained["synthetic"].items())
        rows += [
            ("adapter", f"{trained['form']}, rank {trained['rank']}, for a {trained['group']} category"),
            ("trained", f"{trained['epochs']} epochs on {trained['normal']} good and {made} images"),
            (
                "loss",
                f"{trained['losses'][0]:.3f} in the first epoch, {trained['losses'][-1]:.3f} in the last",
            ),
        ]
    if settings:
        from anomalyvfm.presets import flat

        rows += [("setting", f"{key}={value}") for key, value in flat(description["settings"])]
    click.echo("\n".join(f"{name:<10} {value}" for name, value in rows))


def _print_metrics(metrics: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from anomalyvfm.reports.reported import SOURCE, compare_with_reported

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
    for row in compare_with_reported(metrics["layout"], metrics["category"], metrics):
        console.print(f"{SOURCE}: {row.metric} {row.reported:.4f} for pipelines v1 on MVTec AD 2")
    console.print(
        f"{metrics['images_per_s']:.1f} images/s with metrics, peak {metrics['peak_mb']:.0f} MB → {out}"
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


def _print_demo(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Solar cells the detector had not seen", title_justify="left")
    table.add_column("cell is")
    for column in ("judged good", "judged anomalous"):
        table.add_column(column, justify="right")
    for truth, counts in result["table"].items():
        table.add_row(truth, *(str(counts[column]) for column in ("judged good", "judged anomalous")))
    console = Console()
    console.print(table)
    console.print(
        f"image AUROC {result['metrics']['image_auroc']:.3f};"
        f" the worst twenty → {result['out']}/contact_sheet.png"
    )
