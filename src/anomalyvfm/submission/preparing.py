"""Everything that can be wrong before a submission is begun: models, disk space, the output folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomalyvfm.data import ImageError, read_size
from anomalyvfm.data.datasets.listing import list_folders
from anomalyvfm.errors import InputError
from anomalyvfm.files import check_new, new_folder
from anomalyvfm.model_folder import read_description
from anomalyvfm.submission.targets import Target
from anomalyvfm.version import __version__

RECORD = "submission.json"


@dataclass(frozen=True)
class FittedModel:
    """Where a model lies, the checksum that tells it from every other, and how it reads files here."""

    folder: Path
    sha256: str
    reading: Mapping[str, Any] = field(default_factory=dict)
    """Settings by key, where they are not the model's own."""

    @property
    def identity(self) -> str:
        """What its maps depend on. A limit of size is not among it: it decides only what is read at all."""
        changed = [f"{key}={value}" for key, value in self.reading.items() if key != "image.max_pixels"]
        return " ".join([self.sha256, *changed])


def find_models(
    place: Path, categories: Sequence[str], reading: Mapping[str, Any] | None = None
) -> dict[str, FittedModel]:
    """The model of each category, by what its model.json says it learned; folder names do not count.

    ``place`` holds model folders or is one. Raises InputError that names all categories without a model.
    """
    if not place.is_dir():
        raise InputError(f"{place}: no such folder; give the folder that holds the model folders")
    single = (place / "model.json").is_file()
    found: dict[str, FittedModel] = {}
    for folder in [place] if single else list_folders(place):
        if not (folder / "model.json").is_file():
            continue
        description = read_description(folder)
        learned = description["fitted_on"]["category"]
        if learned in found:
            raise InputError(
                f"{place}: two models of {learned}, {found[learned].folder} and {folder}; move one"
            )
        if learned is not None:
            found[learned] = FittedModel(folder, description["sha256"], reading or {})
    if missing := [category for category in categories if category not in found]:
        raise InputError(
            f"{place}: no model of {', '.join(missing)} (found {', '.join(found) or 'none'});"
            " fit what is missing, or name the categories to submit by --categories"
        )
    return {category: found[category] for category in categories}


def is_finished(out: Path, target: Target) -> bool:
    """Whether both files of an image are there and no older than the image."""
    assert target.image is not None
    try:
        written = min((out / name).stat().st_mtime for name in (target.map, target.mask))
        return written >= target.image.stat().st_mtime
    except OSError:
        return False


def check_space(out: Path, targets: Iterable[Target], finished: Collection[Target]) -> None:
    """Raise InputError where the disk of ``out`` cannot hold what is yet to be written.

    An upper bound from image headers: 2 bytes a pixel for a raw map, far less for a mask, and an archive as
    large as all of them together (it comes to 0.7 to 0.85 of that).
    """
    needed = 0
    for target in targets:
        assert target.image is not None
        try:
            height, width = read_size(target.image)
        except ImageError:  # gets its line when it is judged
            continue
        files = (2 + 1 / 16) * height * width + 8192
        needed += round(files) * (1 if target in finished else 2)
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise InputError(
            f"{out}: maps, masks and archive need up to {_gigabytes(needed)}, {_gigabytes(free)} are free;"
            " choose an --out on another disk or free this one"
        )


def check_out(out: Path, models: Mapping[str, FittedModel], overwrite: bool) -> bool:
    """Whether ``out`` holds a submission to continue: one by the same models, of these or fewer categories.

    Raises InputError where it holds anything else, unless ``overwrite``.
    """
    if overwrite or not (out / RECORD).is_file():
        check_new(out, overwrite)
        return False
    begun = _read_record(out)
    other = [
        category for category, sha256 in begun.items() if _hashes(models).get(category, sha256) != sha256
    ]
    if other:
        raise InputError(
            f"{out}: holds a submission by other models, or read otherwise, of {', '.join(other)};"
            " choose another --out or add --overwrite"
        )
    if more := [category for category in begun if category not in models]:
        raise InputError(
            f"{out}: holds a submission that also has {', '.join(more)}; name all its categories,"
            " choose another --out or add --overwrite"
        )
    return True


def claim(out: Path, models: Mapping[str, FittedModel], continued: bool, overwrite: bool) -> None:
    """Make ``out`` the folder of a submission by these models."""
    record = {"anomalyvfm_version": __version__, "models": _hashes(models)}
    text = json.dumps(record, indent=2) + "\n"
    if continued:
        partial = out / f".{RECORD}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(out / RECORD)
    else:
        with new_folder(out, overwrite) as folder:
            (folder / RECORD).write_text(text, encoding="utf-8")


def _read_record(out: Path) -> dict[str, str]:
    try:
        models = json.loads((out / RECORD).read_text(encoding="utf-8"))["models"]
        return {str(category): str(sha256) for category, sha256 in models.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{out / RECORD}: not readable as the record of a submission;"
            " choose another --out or add --overwrite"
        ) from None


def _hashes(models: Mapping[str, FittedModel]) -> dict[str, str]:
    return {category: model.identity for category, model in models.items()}


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
