"""``export.json``: what an exported folder holds, sealed, and what verdicts need beside the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anomalyvfm.errors import InputError
from anomalyvfm.sealed import check_digest, digest, read_sealed, write_sealed

SCHEMA_VERSION = 5
MANIFEST = "export.json"
GRAPHS = {"onnx": "model.onnx", "openvino": "model.xml"}
"""The file to load, by kind."""
SUMMARY = "summary"
"""What the graph names the vector of an image as a whole, (B, D)."""
LIGHT, TAKEN_IN = "light", "taken_in"
"""What the graph names the score (B,) by the light alone, and the light's numbers (B, 4); where judged."""
SCORES = ("score", "p_value", "grid")
"""What the graph names what follows from features: score and p-value (B,), anomaly map (B, h, w)."""

_REMEDY = "export anew"
# What schema 2 called otherwise.
_RENAMED = {
    "canvas": "input_frame",
    "outline_level": "low_threshold",
    "region_level": "high_threshold",
    "peaks": "map_maxima",
}


def patches_name(number: int) -> str:
    """What the graph names the patch embeddings of images at a scale, 0 the largest, or in detail, the last.

    They, the summary and the light's numbers are the features from which all else follows.
    """
    return "patches" if number == 0 else f"patches_{number}"


def view_name(number: int) -> str:
    """What the graph names the images as the backbone sees them at a scale, (B, 3, h, w) grey levels."""
    return "view" if number == 0 else f"view_{number}"


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported model, whole or not."""
    return (folder / MANIFEST).is_file()


def write_manifest(folder: Path, description: dict[str, Any]) -> None:
    """Seal the graph's files, all that lies in ``folder``, with what is said of them."""
    files = {path.name: digest(path) for path in sorted(folder.iterdir())}
    write_sealed(folder / MANIFEST, {"schema_version": SCHEMA_VERSION, **description, "files": files})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The contents of ``export.json``, in the words of today's schema.

    Raises InputError where it or a file of it is missing or changed.
    """
    try:
        body = read_sealed(folder / MANIFEST, range(2, SCHEMA_VERSION + 1), "an exported model", _REMEDY)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder}: no exported model here ({MANIFEST} is missing); `anomalyvfm export` makes one"
        ) from None
    for name, expected in body["files"].items():
        check_digest(folder / name, expected, _REMEDY)
    renamed = {_RENAMED.get(key, key): value for key, value in body.items()}
    calibration = {_RENAMED.get(key, key): value for key, value in body["calibration"].items()}
    return {"regions": {"min_level": 0.0, "min_area": 0}, **renamed, "calibration": calibration}
