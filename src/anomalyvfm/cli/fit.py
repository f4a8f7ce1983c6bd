"""`anomalyvfm fit`: learn from good images."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalyvfm.cli.engine import engine_options, given_cluster, parts_folder, shown, summary
from anomalyvfm.cli.info import print_model
from anomalyvfm.cli.options import (
    PATH,
    PLACE,
    common,
    given_roi,
    image_size,
    out,
    overrides,
    report,
    reserve,
    roi_options,
    setting,
)
from anomalyvfm.errors import InputError, without_secrets

if TYPE_CHECKING:
    from anomalyvfm.data import Category
    from anomalyvfm.data.stores import StoreImage
    from anomalyvfm.detector import Detector


# Of 255: a tenth of the range.
_DARK = 26
# So many are set aside, unless another share is asked for.
_ODD_SHARE = 0.05
# So many of the images that are odd or were set aside are named.
_NAMED = 10


@click.command()
@click.argument("data", nargs=-1, required=True, type=PLACE)
@out()
@click.option("--preset", default="v2", show_default=True, help="Which pipeline.")
@click.option("--backbone", help="Name, or folder in the model hub's format.  [default: the preset's]")
@click.option("--category", help="Which category of a data set's root.")
@image_size("the backbone's")
@setting("Any other setting; `info` lists them.")
@click.option(
    "--defects",
    type=PATH,
    help="A folder of images in which a person has confirmed a defect, and masks of them.",
)
@roi_options
@click.option("--all", "every", is_flag=True, help="A model of each category of DATA, in a folder of --out.")
@click.option(
    "--checkpoint", type=PATH, help="Keep the state of the training in this file, and go on from it."
)
@click.option(
    "--unlabelled", is_flag=True, help="Nobody has looked at the images: set the oddest aside, and name them."
)
@click.option(
    "--odd-share",
    type=click.FloatRange(0, 0.5, min_open=True),
    help="With --unlabelled: of the images, those set aside.  [default: 0.05]",
)
@engine_options
@click.option("--resume", is_flag=True, help="With ray: go on with a fit that was interrupted.")
@common
def fit(
    data: tuple[Path | str, ...],
    out: Path,
    overwrite: bool,
    preset: str,
    backbone: str | None,
    category: str | None,
    image_size: str | None,
    settings: tuple[str, ...],
    defects: Path | None,
    roi: Path | None,
    ignore: Path | None,
    every: bool,
    checkpoint: Path | None,
    unlabelled: bool,
    odd_share: float | None,
    engine: str,
    workers: int | None,
    address: str | None,
    resume: bool,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Learn from the good images in DATA: folders, a category, or a root with --category or --all.

    DATA may also be addresses in stores, such as s3://bucket/good or https://server/good/.
    """
    from anomalyvfm.data.datasets.opening import list_categories, open_datasets, open_defects
    from anomalyvfm.data.stores import images_at
    from anomalyvfm.files import check_apart, new_folder
    from anomalyvfm.presets import AdaptedPreset
    from anomalyvfm.presets import preset as named_preset
    from anomalyvfm.tracking import untracked

    chosen = named_preset(preset).override(overrides(backbone, image_size, settings))
    if checkpoint is not None and not (isinstance(chosen, AdaptedPreset) and chosen.lora.enabled):
        raise InputError(f"--checkpoint: {preset} with these settings trains nothing; leave it out")
    if odd_share is not None and not unlabelled:
        raise InputError("--odd-share: nothing is set aside without --unlabelled; add it, or leave this out")
    if defects is not None and isinstance(chosen, AdaptedPreset):
        raise InputError(f"--defects: {preset} learns from good images alone; leave it out, or take v2")
    if (roi or ignore) and isinstance(chosen, AdaptedPreset):
        option = "--roi" if roi else "--ignore"
        raise InputError(f"{option}: {preset} judges whole images; leave it out, or take v2")
    share = (odd_share or _ODD_SHARE) if unlabelled else 0.0
    cluster = given_cluster(engine, workers, address)
    if cluster is None and resume:
        raise InputError("--resume: a fit is gone on with by --engine ray; training by --checkpoint")
    if cluster is not None and isinstance(chosen, AdaptedPreset):
        raise InputError(
            f"--engine ray: {preset} is trained, on one machine or by accelerate; leave it out, or take v2"
        )
    several, first = _processes()
    if several and not (isinstance(chosen, AdaptedPreset) and chosen.lora.enabled):
        raise InputError(f"accelerate launch: {preset} with these settings trains nothing; take --engine ray")
    if first:
        reserve(out, overwrite)
    folders = [place for place in data if isinstance(place, Path)]
    addresses = [place for place in data if isinstance(place, str)]
    check_apart(out, *folders)
    categories: dict[str, Category | list[StoreImage]]
    if addresses:
        if folders or category is not None or every:
            raise InputError(
                f"{without_secrets(addresses[0])}: images in a store are learned on their own; leave out"
                " --category, --all and folders"
            )
        categories = {"": [image for address in addresses for image in images_at(address)]}
    elif every:
        if category is not None or len(data) > 1 or checkpoint is not None or defects is not None:
            raise click.UsageError(
                "--all takes one DATA, and none of --category, --checkpoint and --defects."
            )
        categories = {name: open_datasets(folders, name, seed) for name in list_categories(folders[0])}
    else:
        categories = {"": open_datasets(folders, category, seed)}
    confirmed = () if defects is None else open_defects(defects)
    region = given_roi(roi, ignore)
    # Only now torch: whatever is wrong above is said at once.
    from anomalyvfm.cli.progress import bar
    from anomalyvfm.detector import Detector

    if cluster is not None:
        from anomalyvfm.cluster.fitting import ClusterFit

    descriptions: dict[str, dict[str, Any]] = {}
    summaries: dict[str, dict[str, Any]] = {}
    with new_folder(out, overwrite) if every and first else nullcontext(out) as place:
        for name, images in categories.items():
            detector = Detector(chosen, device=device, seed=seed)
            if chosen.backbone != detector.settings.backbone and not descriptions:
                found = f"backbone {detector.settings.backbone}: the best that this machine runs at speed"
                click.echo(f"{found}; --backbone takes another", err=True)
            fitting = partial(
                detector.fit,
                images,
                track=bar if first else untracked,
                checkpoint=checkpoint,
                odd_share=share,
                defects=confirmed,
                roi=region,
            )
            if cluster is None:
                fitting()
            else:
                parts = ClusterFit(cluster, parts_folder(out) / name, resume, partial(shown, "learning"))
                fitting(engine=parts)
                summaries[name] = parts.summary
            if not first:  # of several processes one writes
                continue
            detector.save(place / name, overwrite=overwrite and not every)
            if every:
                click.echo(f"{name}:", err=True)
            _warn(detector)
            told = {"cluster": summaries[name]} if name in summaries else {}
            descriptions[name] = {"model": str(out / name), **detector.describe(), **told}
    if not first:
        return
    if cluster is not None:
        shutil.rmtree(parts_folder(out), ignore_errors=True)

    def show() -> None:
        for number, (name, description) in enumerate(descriptions.items()):
            if number:
                click.echo()
            print_model(out / name, description)
            if name in summaries:
                click.echo(summary(summaries[name]))

    report(as_json, {"models": list(descriptions.values())} if every else descriptions[""], show)


def _processes() -> tuple[bool, bool]:
    """Whether accelerate has started several processes to train together, and whether this is the first."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return several, not several or os.environ.get("RANK", "0") == "0"


def _warn(detector: Detector) -> None:
    pipeline = detector.pipeline_
    if odd := detector.set_aside_:
        shown = ", ".join(f"{name} ({score:.1f})" for name, score in odd[:_NAMED])
        more = f" and {len(odd) - _NAMED} more, in model.json" * (len(odd) > _NAMED)
        click.echo(
            f"note: {len(odd)} image{'s' * (len(odd) != 1)} set aside as the most unlike the others:"
            f" {shown}{more};"
            " what is promised of false alarms holds for parts like those that were kept",
            err=True,
        )
    for line in _frame_notes(detector):
        click.echo(f"note: {line}", err=True)
    for message in pipeline.skipped[:5]:
        click.echo(f"skipped: {message}", err=True)
    if skipped := len(pipeline.skipped):
        click.echo(f"skipped {skipped} image{'s' * (skipped != 1)} that could not be read", err=True)
    for defect, good in detector.describe().get("defects", {}).get("near_copies", ())[:_NAMED]:
        text = f"{defect}, given as a defect, shows nearly the same as the good {good}"
        click.echo(f"warning: {text}; is one of them in the wrong folder?", err=True)
    learned = pipeline.learned
    if copies := learned.total() - len(learned):
        text = f"{copies} of {learned.total()} images are copies of others; they back no false-alarm promise"
        click.echo(f"warning: {text}", err=True)
    if pipeline.brightest < _DARK:
        text = f"the brightest value of all images is {pipeline.brightest} of 255; where the camera gives 10"
        click.echo(f"warning: {text} or 12 bits, add --set image.white_level=1023 or 4095", err=True)
    if outlying := detector.outlying():
        shown = ", ".join(f"{name} ({score:.1f})" for name, score in outlying[:_NAMED])
        shown += f" and {len(outlying) - _NAMED} more" * (len(outlying) > _NAMED)
        click.echo(
            f"warning: look at {shown}: unlike the other images. If one is a defect, leave it out and fit"
            " again: it hides others like it",
            err=True,
        )
    warn_of_calibration(detector)


def warn_of_calibration(detector: Detector) -> None:
    """Say where there are too few images for the promise."""
    calibration = detector.calibration_
    if not calibration.promised:
        found = f"{calibration.count} different good images"
        if calibration.independent < calibration.count:
            found = f"{calibration.independent} groups of good images, each alike in itself,"
        basis = " from their spread" if calibration.count < calibration.images_needed else ""
        click.echo(
            f"warning: only {found} to calibrate with; a false-alarm promise of"
            f" {calibration.false_alarm_rate:.2%} takes {calibration.images_needed}, so the threshold is an"
            f" estimate{basis}",
            err=True,
        )


def _frame_notes(detector: Detector) -> list[str]:
    """Where what the backbone sees is not what a user may think to have asked for."""
    frame, settings = detector.frame_, detector.settings.image
    size = f"{frame.width}×{frame.height}"
    notes = []
    if settings.aspect == "auto" and frame.aspect == "keep":
        notes.append(
            f"the images are over twice as long as wide, so their shape is kept, at {size} px;"
            " --set image.aspect=stretch or --image-size WIDTHxHEIGHT take another, image.tile more detail"
        )
    elif settings.size is not None and frame.aspect == "stretch":
        asked = settings.size if isinstance(settings.size, tuple) else (settings.size, settings.size)
        if asked != (frame.width, frame.height):
            wanted = "×".join(map(str, asked))
            notes.append(f"--image-size {wanted} becomes {size}: this backbone takes multiples of its stride")
    if settings.tile and settings.tile >= max(frame.height, frame.width):
        notes.append(f"image.tile={settings.tile} is no smaller than the {size} px seen, and changes nothing")
    return notes
