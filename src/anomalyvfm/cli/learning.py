"""`anomalyvfm update`, `forget`, `calibrate`: a fitted model learns on, unlearns, or is calibrated anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalyvfm.cli.fit import warn_of_calibration
from anomalyvfm.cli.info import print_model
from anomalyvfm.cli.options import PATH, PLACE, check_order, common, out, report, reserve, weights_moved
from anomalyvfm.errors import InputError

if TYPE_CHECKING:
    from anomalyvfm.data.stores import ImageFile
    from anomalyvfm.detector import Detector


def _command(
    name: str, about: str, change: Callable[[Detector, Sequence[ImageFile]], object]
) -> click.Command:
    """A command that loads MODEL, changes it by IMAGES, and writes it to --out."""

    @click.command(
        name, help=f"{about}\n\nWrite the model to --out; with --overwrite that may be MODEL itself."
    )
    @click.argument("model", type=PATH)
    @click.argument("images", nargs=-1, required=True, type=PLACE)
    @out()
    @weights_moved
    @common
    def command(
        model: Path,
        images: tuple[Path | str, ...],
        out: Path,
        overwrite: bool,
        backbone: str | None,
        as_json: bool,
        device: str,
        seed: int,
    ) -> None:
        from anomalyvfm.files import check_apart
        from anomalyvfm.predictions.finding import find_images

        check_order(model, images)
        reserve(out, overwrite)
        check_apart(out, *(place for place in images if isinstance(place, Path)))
        paths = find_images(images)
        from anomalyvfm.detector import Detector

        detector = Detector.load(model, backbone=backbone, device=device)
        change(detector, paths)
        skipped = detector.pipeline_.skipped
        if len(skipped) == len(paths):
            raise InputError(f"none of the {len(paths)} images could be read; {skipped[0]}")
        for message in skipped:
            click.echo(f"skipped: {message}", err=True)
        detector.save(out, overwrite)
        warn_of_calibration(detector)
        description: dict[str, Any] = detector.describe()
        report(as_json, {"model": str(out), **description}, lambda: print_model(out, description))

    return command


update = _command(
    "update",
    "Learn the good images IMAGES too: the model is then the one fitted on all of them. Its threshold stays.",
    lambda detector, images: detector.update(images),
)
forget = _command(
    "forget",
    "Take back IMAGES that should not have been learned: the model is then as if they never were.",
    lambda detector, images: detector.forget(images),
)
calibrate = _command(
    "calibrate",
    "Set scores, p-values and threshold anew by good images IMAGES that MODEL has not learned.",
    lambda detector, images: detector.calibrate(images),
)
