"""What a part has learned, on disk: its sums, the features it keeps, and what it says of its images."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from anomalyvfm.cluster.working_folder import REMEDY
from anomalyvfm.errors import InputError
from anomalyvfm.pipeline import Stored
from anomalyvfm.sealed import read_sealed, write_sealed
from anomalyvfm.statistical.kept_images import KeptImages
from anomalyvfm.statistical.look import Look
from anomalyvfm.statistical.pipeline import StatisticalPipeline

_SCHEMAS = range(1, 2)
_DOCUMENT, _SUMS, _KEPT = "part.json", "sums.safetensors", "kept.safetensors"
FEATURES = "features"
"""What the files of a part's features begin with."""


def write_learned(folder: Path, pipeline: StatisticalPipeline, look: Look | None) -> None:
    """Write what a pipeline has learned, and what was noted meanwhile, to a folder that is there."""
    described = {
        **pipeline.identity(),
        **pipeline.describe(),
        "fitted_on": {"brightest": pipeline.brightest},
        "skipped": pipeline.skipped,
        "near": None if look is None else look.near.as_dict(),
    }
    _save(pipeline.to_tensors(), folder / _SUMS)
    if look is not None:
        _save(look.kept.to_tensors(), folder / _KEPT)
    write_sealed(folder / _DOCUMENT, {"schema_version": _SCHEMAS[-1], **described})


def read_learned(folder: Path, restore: Callable[[Stored], StatisticalPipeline]) -> StatisticalPipeline:
    """A pipeline that has learned what `write_learned` wrote. Raises InputError where it is not whole."""
    described = _description(folder)
    pipeline = restore(Stored(described, _load(folder / _SUMS)))
    pipeline.skipped = list(described["skipped"])
    return pipeline


def take_look(folder: Path, look: Look, grouped_by: str) -> None:
    """Add what a part noted to ``look``. Raises InputError where its folder is not whole."""
    look.near.merge(_description(folder)["near"])
    look.kept.extend(KeptImages.opened(folder / FEATURES, _load(folder / _KEPT), grouped_by))


def is_whole(folder: Path) -> bool:
    """Whether a part, or what some have learned together, came to its end there."""
    return (folder / _DOCUMENT).is_file()


def forget_sums(folders: Sequence[Path]) -> None:
    """Remove what has been added to other sums."""
    for folder in folders:
        (folder / _SUMS).unlink(missing_ok=True)


def _description(folder: Path) -> dict[str, Any]:
    try:
        return read_sealed(folder / _DOCUMENT, _SCHEMAS, "a part of a fit", REMEDY)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder}: is gone; no other run may use that folder, and {REMEDY}") from None


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:  # its own type for what the disk refused
        raise OSError(errno.EIO, " ".join(str(error).split())) from None


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())}); {REMEDY}") from None
