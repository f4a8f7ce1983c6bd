"""JSON documents that say what lies beside them, sealed: a change to them or to those files is seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomalyvfm.errors import InputError


def write_sealed(path: Path, body: Mapping[str, Any]) -> None:
    """Write ``body``, which has a ``schema_version``, as JSON with the hash of its entries."""
    sealed = {**body, "sha256": seal(body)}
    path.write_text(json.dumps(sealed, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_sealed(path: Path, schemas: range, what: str, remedy: str) -> dict[str, Any]:
    """What `write_sealed` wrote.

    Parameters
    ----------
    path : Path
    schemas : range
        Versions that can be read.
    what, remedy : str
        What the document is of, and how to come by another one, for errors.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        Where there is none.
    InputError
        Where it cannot be read, is of another schema, or has been changed.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    except ValueError:
        raise InputError(f"{path}: not readable as JSON; copy it again or {remedy}") from None
    version = body.get("schema_version") if isinstance(body, dict) else None
    if not isinstance(version, int):
        raise InputError(f"{path}: not {what} of AnomalyVFM (no schema_version)")
    if version > schemas[-1]:
        raise InputError(
            f"{path}: written by a newer AnomalyVFM (schema {version}, known up to {schemas[-1]});"
            " upgrade to read it"
        )
    if version < schemas[0]:
        raise InputError(f"{path}: written by an older AnomalyVFM (schema {version}); {remedy}")
    if body.get("sha256") != seal(body):
        raise InputError(f"{path}: changed since it was written; copy it again or {remedy}")
    return dict(body)


def check_digest(path: Path, expected: str, remedy: str) -> None:
    """Raise InputError where a file is missing or no longer the one with that sha256."""
    try:
        intact = digest(path) == expected
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); copy it again or {remedy}") from None
    if not intact:
        raise InputError(f"{path}: truncated or changed since it was written; copy it again or {remedy}")


def seal(body: Mapping[str, Any]) -> str:
    """The hash of a document's other entries."""
    text = json.dumps({k: v for k, v in body.items() if k != "sha256"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def digest(path: Path) -> str:
    """sha256 (hex) of a file."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()
