"""Rows of a benchmark, each kept as it is measured, so that a run that was stopped goes on from there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import anomalyvfm
from anomalyvfm.data import Sample

PACKAGE = Path(anomalyvfm.__file__).parent
Row = dict[str, Any]

# No row changes with these rooms.
_NOT_MEASURED = ("server", "cli", "submission", "export", "explain", "visual", "predictions")


def measured_sources() -> list[Path]:
    """The package's files that a measured model runs through."""
    files = sorted(PACKAGE.rglob("*.py"))
    return [file for file in files if file.relative_to(PACKAGE).parts[0] not in _NOT_MEASURED]


def key(about: Any, sources: Iterable[Path], samples: Sequence[Sample]) -> str:
    """What a row depends on, as a short name: what is asked (JSON), code, and image files."""
    digest = hashlib.sha256(json.dumps(about).encode())
    for file in sources:
        digest.update(file.read_bytes())
    for sample in samples:
        status = sample.path.stat()
        digest.update(f"{sample.path} {sample.label} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:20]


def keep(file: Path, row: Row) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(row), encoding="utf-8")
    partial.replace(file)


def kept(file: Path) -> Row:
    row: Row = json.loads(file.read_text(encoding="utf-8"))
    return row
