"""A fitted model on disk: ``model.json`` says what it is, ``model.safetensors`` holds what it learned."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalyvfm.errors import InputError

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


@contextmanager
def new_folder(folder: Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill, renamed to ``folder`` when all is written and removed when anything goes wrong.

    Raises InputError where ``folder`` exists and is not empty (unless ``overwrite``) or cannot be made.
    """
    check_new(folder, overwrite)
    folder = folder.absolute()
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        if folder.is_dir() and overwrite:
            shutil.rmtree(folder)
        partial.replace(folder)  # an empty folder of that name gives way
    except OSError as error:
        raise unwritable(folder, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_new(folder: Path, overwrite: bool = False) -> None:
    """Raise InputError, before any work is done, where a result folder could not be written."""
    try:
        parent = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from None
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; choose another --out")
    if folder.is_dir() and not overwrite and any(folder.iterdir()):
        raise InputError(f"{folder}: exists already; choose another --out or add --overwrite")
    if not parent.is_dir():
        raise InputError(f"{folder}: cannot be written ({parent} is a file); choose another --out")
    try:
        # Permission is not enough: read-only mounts and /proc grant it to root, and refuse to write.
        Path(tempfile.mkdtemp(prefix=".probe-", dir=parent)).rmdir()
    except OSError as error:
        raise unwritable(folder, error) from None


def unwritable(folder: Path, error: OSError) -> InputError:
    """The one line for a place that took no files, or no more of them."""
    return InputError(
        f"{folder}: cannot be written ({error.strerror}); choose another --out or free the disk"
    )


def check_apart(out: Path, *inputs: Path) -> None:
    """Raise InputError where replacing ``out`` would remove what the results are made from."""
    for place in (path.resolve() for path in inputs):
        if out.resolve() in (place, *place.parents):
            raise InputError(f"{out}: {place} is in it; choose another --out")


def seal(body: Mapping[str, Any]) -> str:
    """The hash of a description's other entries, by which a change to any of them is seen."""
    text = json.dumps({k: v for k, v in body.items() if k != "sha256"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def digest(path: Path) -> str:
    """sha256 (hex) of a file."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()
