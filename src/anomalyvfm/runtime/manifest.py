"""``export.json``: what an exported folder holds, sealed, and what verdicts need beside the graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anomalyvfm.errors import InputError
from anomalyvfm.files import digest, seal

SCHEMA_VERSION = 2
MANIFEST = "export.json"
GRAPHS = {"onnx": "model.onnx", "openvino": "model.xml"}
"""The file to load, by kind."""


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported model, whole or not."""
    return (folder / MANIFEST).is_file()


def write_manifest(folder: Path, description: dict[str, Any]) -> None:
    """Seal the graph's files, all that lies in ``folder``, with what is said of them."""
    files = {path.name: digest(path) for path in sorted(folder.iterdir())}
    body = {"schema_version": SCHEMA_VERSION, **description, "files": files}
    body["sha256"] = seal(body)
    (folder / MANIFEST).write_text(json.dumps(body, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The contents of ``export.json``. Raises InputError where it or a file of it is missing or changed."""
    path = folder / MANIFEST
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder}: no exported model here ({MANIFEST} is missing); `anomalyvfm export` makes one"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    except ValueError:
        raise InputError(f"{path}: not readable as JSON; copy the folder again or export anew") from None
    version = body.get("schema_version") if isinstance(body, dict) else None
    if not isinstance(version, int):
        raise InputError(f"{path}: not an exported model of AnomalyVFM (no schema_version)")
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: of another AnomalyVFM (schema {version}, known is {SCHEMA_VERSION}); export anew"
        )
    if body.get("sha256") != seal(body):
        raise InputError(f"{path}: changed since it was written; copy the folder again or export anew")
    for name, expected in body["files"].items():
        try:
            intact = digest(folder / name) == expected
        except OSError as error:
            raise InputError(
                f"{folder / name}: cannot be read ({error.strerror}); copy the folder again or export anew"
            ) from None
        if not intact:
            raise InputError(
                f"{folder / name}: truncated or changed since it was written;"
                " copy the folder again or export anew"
            )
    return dict(body)
