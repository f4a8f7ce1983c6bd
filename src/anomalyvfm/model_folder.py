"""A fitted model on disk: ``model.json`` says what it is, ``model.safetensors`` holds what it learned."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalyvfm.errors import InputError
from anomalyvfm.files import new_folder, share
from anomalyvfm.presets import stored_preset
from anomalyvfm.sealed import check_digest, digest, read_sealed, write_sealed

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA_VERSION = 8
DESCRIPTION, TENSORS = "model.json", "model.safetensors"
_CALIBRATION, _CALIBRATION_TENSORS = "calibration.json", "calibration.safetensors"
_REMEDY = "fit it anew"

# What schema 2 called otherwise.
_RENAMED_TENSORS = {
    "calibration.opinions": "calibration.image_scores",
    "calibration.peaks": "calibration.map_maxima",
    "calibration.cells": "calibration.map_histogram",
}
_RENAMED_KEYS = {"canvas": "input_frame", "given": "context_dimensions", "relit_weight": "light_weight"}


def write_model(
    folder: Path, description: Mapping[str, Any], tensors: Mapping[str, Tensor], overwrite: bool = False
) -> None:
    """Write a model folder, whole or not at all. Raises InputError where ``folder`` cannot be new."""
    with new_folder(folder, overwrite) as partial:
        _write(partial / DESCRIPTION, partial / TENSORS, description, tensors)


def write_calibration(folder: Path, description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write what a model folder says of the calibration to a folder of its own, whole or not at all."""
    with new_folder(folder) as partial:
        _write(partial / _CALIBRATION, partial / _CALIBRATION_TENSORS, description, tensors)


def read_calibration(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `write_calibration` wrote. Raises InputError where it is missing, broken or changed."""
    from safetensors.torch import load_file

    try:
        # The first schema with calibrations on their own was 7.
        body = read_sealed(folder / _CALIBRATION, range(7, SCHEMA_VERSION + 1), "a calibration", _REMEDY)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder}: no calibration here ({_CALIBRATION} is missing)") from None
    check_digest(folder / _CALIBRATION_TENSORS, body["tensors_sha256"], _REMEDY)
    return body, load_file(folder / _CALIBRATION_TENSORS)


def read_description(folder: Path) -> dict[str, Any]:
    """The contents of ``model.json``, in the words of today's schema.

    Raises InputError where it is missing, broken, changed or not ours.
    """
    try:
        body = read_sealed(folder / DESCRIPTION, range(2, SCHEMA_VERSION + 1), "a model", _REMEDY)
    except (FileNotFoundError, NotADirectoryError):
        if (folder / "export.json").exists():
            raise InputError(
                f"{folder}: an exported model, which only predict and info take; name the fitted one"
            ) from None
        raise InputError(
            f"{folder}: no model here ({DESCRIPTION} is missing); `anomalyvfm fit` makes one"
        ) from None
    if body["schema_version"] == 2:
        body = _of_schema_3(body)
    if body["schema_version"] == 3:
        body = _of_schema_4(body)
    if body["schema_version"] == 4:
        body = _of_schema_5(body)
    if body["schema_version"] == 5:
        body = _of_schema_6(body)
    return body if body["schema_version"] >= 7 else _of_schema_7(body)


def read_tensors(folder: Path, description: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a model. Raises InputError where the file is missing, truncated or changed."""
    from safetensors.torch import load_file

    check_digest(folder / TENSORS, description["tensors_sha256"], _REMEDY)
    return {_RENAMED_TENSORS.get(name, name): tensor for name, tensor in load_file(folder / TENSORS).items()}


def _write(
    document: Path, beside: Path, description: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), beside)
        share(beside)
    except SafetensorError as error:  # its own type for what the disk refused
        raise OSError(errno.EIO, " ".join(str(error).split())) from None
    body = {"schema_version": SCHEMA_VERSION, **description, "tensors_sha256": digest(beside)}
    write_sealed(document, body)


def _of_schema_3(body: dict[str, Any]) -> dict[str, Any]:
    """A description of schema 2 in the words of schema 3."""
    # Not kept then: v2's scores were cross-fitted unless many validation images calibrated.
    cross_fitted = "gaussian" in body["settings"]
    described = {_RENAMED_KEYS.get(key, key): value for key, value in body.items()}
    return {
        **described,
        "schema_version": 3,
        "calibration": {**body["calibration"], "cross_fitted": cross_fitted},
    }


def _of_schema_4(body: dict[str, Any]) -> dict[str, Any]:
    """A description of schema 3 in the words of schema 4, in which v2 may see an image at several scales."""
    settings = dict(body["settings"])
    if "gaussian" not in settings:
        return {**body, "schema_version": 4}
    gaussian = {**settings["gaussian"], "scales": [1.0], "window": 1, "experts": "all"}
    # The oddest patches were a share of them all.
    gaussian["patches"] = max(1, round(gaussian.pop("top") * body["grid"]["height"] * body["grid"]["width"]))
    settings["gaussian"] = gaussian
    return {
        **body,
        "schema_version": 4,
        "settings": stored_preset(settings).model_dump(mode="json"),
        "coarser_grids": [],
        "sizes_seen": [[body["input_frame"]["height"], body["input_frame"]["width"]]],
        "choice": {
            "window": 1,
            "scales": [0],
            "summary_weight": gaussian["summary_weight"],
            "densities": {},
            "told": [],
        },
    }


def _of_schema_5(body: dict[str, Any]) -> dict[str, Any]:
    """A description of schema 4 in the words of schema 5, in which v2 may compare with remembered patches."""
    if "choice" not in body:
        return {**body, "schema_version": 5}
    settings = stored_preset(body["settings"]).override({"gaussian.bank": "never"})
    return {
        **body,
        "schema_version": 5,
        "settings": settings.model_dump(mode="json"),
        "choice": {**body["choice"], "banks": []},
    }


def _of_schema_6(body: dict[str, Any]) -> dict[str, Any]:
    """A description of schema 5 in the words of schema 6, in which v2 may widen what is odd in a map."""
    if "choice" not in body:
        return {**body, "schema_version": 6}
    settings = stored_preset(body["settings"]).override({"gaussian.widen": "never"})
    return {**body, "schema_version": 6, "settings": settings.model_dump(mode="json")}


def _of_schema_7(body: dict[str, Any]) -> dict[str, Any]:
    """A description of schema 6 in the words of schema 7, in which v2's maps may be finer by its detail."""
    return {**body, "detail_grid": None} if "choice" in body else body
