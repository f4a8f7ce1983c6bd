"""A fitted model on disk: ``model.json`` says what it is, ``model.safetensors`` holds what it learned."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalyvfm.errors import InputError
from anomalyvfm.files import digest, new_folder, seal, share

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA_VERSION = 2
_JSON, _TENSORS = "model.json", "model.safetensors"


def write_model(
    folder: Path, description: Mapping[str, Any], tensors: Mapping[str, Tensor], overwrite: bool = False
) -> None:
    """Write a model folder, whole or not at all. Raises InputError where ``folder`` cannot be new."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with new_folder(folder, overwrite) as partial:
        try:
            save_file(dict(tensors), partial / _TENSORS)
            share(partial / _TENSORS)
        except SafetensorError as error:  # its own type for what the disk refused
            raise OSError(errno.EIO, " ".join(str(error).split())) from None
        body = {
            "schema_version": SCHEMA_VERSION,
            **description,
            "tensors_sha256": digest(partial / _TENSORS),
        }
        body["sha256"] = seal(body)
        (partial / _JSON).write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def read_description(folder: Path) -> dict[str, Any]:
    """The contents of ``model.json``. Raises InputError where it is missing, broken, changed or not ours."""
    path = folder / _JSON
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if (folder / "export.json").exists():
            raise InputError(
                f"{folder}: an exported model, which only predict and info take; name the fitted one"
            ) from None
        raise InputError(
            f"{folder}: no model here ({_JSON} is missing); `anomalyvfm fit` makes one"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    except ValueError:
        raise InputError(f"{path}: not readable as JSON; copy the model again or fit it anew") from None
    version = body.get("schema_version") if isinstance(body, dict) else None
    if not isinstance(version, int):
        raise InputError(f"{path}: not a model of AnomalyVFM (no schema_version)")
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path}: written by a newer AnomalyVFM (schema {version}, known up to {SCHEMA_VERSION});"
            " upgrade to read it"
        )
    if version < SCHEMA_VERSION:
        raise InputError(f"{path}: fitted by an older AnomalyVFM (schema {version}); fit it anew")
    if body.get("sha256") != seal(body):
        raise InputError(f"{path}: changed since it was written; copy the model again or fit it anew")
    return dict(body)


def read_tensors(folder: Path, description: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a model. Raises InputError where the file is missing, truncated or changed."""
    from safetensors.torch import load_file

    path = folder / _TENSORS
    try:
        intact = digest(path) == description["tensors_sha256"]
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); copy the model again or fit it anew"
        ) from None
    if not intact:
        raise InputError(
            f"{path}: truncated or changed since it was written; copy the model again or fit it anew"
        )
    return load_file(path)
