"""From fitted models to the archive, image by image, continued where a killed run stopped."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from anomalyvfm.data import ImageError, read_many
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.files import check_apart, mark
from anomalyvfm.submission.checking import check_submission
from anomalyvfm.submission.packing import pack
from anomalyvfm.submission.preparing import RECORD, FittedModel, check_out, check_space, claim, is_finished
from anomalyvfm.submission.targets import MAPS, MASKS, Target
from anomalyvfm.tracking import Tracker, untracked
from anomalyvfm.visual.pictures import save_picture

# An image of 5 megapixels takes about 60 MB until it is written, so few are in hand whatever the cores.
_WRITERS = 4


@dataclass(frozen=True)
class Written:
    """What a call did: ``images`` in the submission, of which ``judged`` now; the rest was there."""

    archive: Path
    images: int
    judged: int
    seconds: float


def write_submission(
    models: Mapping[str, FittedModel],
    targets: Sequence[Target],
    out: Path,
    *,
    overwrite: bool = False,
    backbone: str | None = None,
    device: str = "auto",
    track: Tracker = untracked,
) -> Written:
    """Judge the targets' images and write ``out/submission.tar.gz`` and the two folders it is packed from.

    A submission that the same models have begun in ``out`` is continued; the result is that of a run
    without interruption, byte for byte. Raises InputError where the disk is too small, ``out`` holds
    something else, an image could not be read (the others are then written) or a file on disk is damaged.
    """
    started = time.perf_counter()
    images = [target.image for target in targets if target.image is not None]
    check_apart(out, *(model.folder for model in models.values()), *images)
    continued = check_out(out, models, overwrite)
    finished = {target for target in targets if continued and is_finished(out, target)}
    check_space(out, targets, finished)
    archive = out / "submission.tar.gz"
    with _disk_errors(out):
        claim(out, models, continued, overwrite)
        mark(out, growing=(RECORD, MAPS, MASKS, archive.name))
        archive.with_name(f".{archive.name}.partial").unlink(missing_ok=True)
        if len(finished) < len(targets):
            archive.unlink(missing_ok=True)  # from here on it would not hold what the folders hold
    broken: list[ImageError] = []
    for category, group in groupby(targets, key=lambda target: target.category):
        members = list(group)
        if not finished.issuperset(members):
            model = models[category]
            detector = Detector.load(model.folder, backbone=backbone, device=device, reading=model.reading)
            broken += _write_category(detector, members, finished, out, track)
    if broken:
        raise InputError(
            f"{len(broken)} of {len(targets)} test images could not be read, so there is no archive;"
            f" mend them and run the same command again, which continues; the first: {broken[0]}"
        )
    if not archive.is_file():
        if faults := check_submission(out, targets, track):
            raise InputError(
                f"{out}: {len(faults)} fault{'s' * (len(faults) > 1)} after writing; remove what is at fault"
                f" and run the same command again, which continues; the first: {faults[0]}"
            )
        with _disk_errors(out):
            pack(out, [name for target in targets for name in (target.map, target.mask)], archive, track)
            mark(out)
    seconds = time.perf_counter() - started
    return Written(archive, len(targets), len(targets) - len(finished), seconds)


def _write_category(
    detector: Detector, targets: Sequence[Target], finished: Collection[Target], out: Path, track: Tracker
) -> list[ImageError]:
    """Write what is unfinished; the errors of images that could not be read."""
    # The last bits of a map depend on which images share its batch, so batches are redone whole: then a
    # continued submission equals one written at once. Finished files are left alone all the same.
    size = detector.together
    batches = [targets[start : start + size] for start in range(0, len(targets), size)]
    due = [target for batch in batches for target in batch if not set(batch) <= set(finished)]
    judged = zip(due, detector.judge(_images(due)), strict=True)

    def write(pair: tuple[Target, tuple[Any, Verdict | ImageError]]) -> None:
        target, (_, verdict) = pair
        if isinstance(verdict, ImageError):
            raise verdict
        if target not in finished:
            with _disk_errors(out):
                _write_image(out, target, verdict)

    written = read_many(judged, write, workers=_WRITERS, ahead=_WRITERS)
    description = targets[0].category
    return [error for _, error in track(written, len(due), description) if isinstance(error, ImageError)]


def _images(targets: Sequence[Target]) -> Iterator[Path]:
    for target in targets:
        assert target.image is not None
        yield target.image


def _write_image(out: Path, target: Target, verdict: Verdict) -> None:
    for name in (target.map, target.mask):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
    save_picture(verdict.mask.astype(np.uint8) * np.uint8(255), out / target.mask)
    path = out / target.map
    partial = path.with_name(f".{path.name}.partial")
    # Beyond the largest finite float16, 65504 standard deviations, all values are the same: as odd as can be.
    limit = float(np.finfo(np.float16).max)
    values = np.clip(verdict.map, -limit, limit).astype(np.float16)
    tifffile.imwrite(partial, values, photometric="minisblack", metadata=None, software=False)
    partial.replace(path)


@contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename or out}: cannot be written ({error.strerror}); free the disk or mend its"
            " permissions, then run the same command again, which continues"
        ) from None
