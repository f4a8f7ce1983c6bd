"""A model that came over the network: whether its bytes are a model's, before it may judge."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anomalyvfm.data import ImageError
from anomalyvfm.errors import InputError
from anomalyvfm.model_folder import TENSORS, read_description
from anomalyvfm.server.models.version_folders import Loader
from anomalyvfm.server.problems import Problem

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector

DESCRIPTION_BYTES = 1 << 20


def check(folder: Path, load: Loader, backbones: Collection[str], most_pixels: int) -> dict[str, Any]:
    """The description of a model folder of unknown origin. Raises Problem 422 where it is no usable model.

    Nothing in a model is code. What it may still do is name a backbone, which would be read from the disk
    or fetched, so that must be one of ``backbones``; or claim sizes far beyond its own bytes, so these are
    compared before anything is allocated. Then it must judge an image.
    """
    try:
        description = read_description(folder)
        if description["settings"]["backbone"] not in backbones:
            raise Problem(422, "its backbone is of no model here; give the first such model at the start")
        frame = description["input_frame"]
        if not 0 < int(frame["height"]) * int(frame["width"]) <= most_pixels:
            raise Problem(422, f"its frame is larger than the {most_pixels} pixels of an image")
        _check_sums(_shapes(folder / TENSORS))
        detector = load(folder)
        _try(detector)
    except Problem:
        raise
    except InputError as error:  # without the station's own folder, which is nobody's business
        raise Problem(422, str(error).replace(f"{folder}/", "").replace(str(folder), "the model")) from None
    except Exception as error:  # hostile bytes may break a reader in any way
        raise Problem(422, f"not a model that can be loaded ({type(error).__name__})") from None
    return description


def _shapes(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each tensor as the header says; the reader checks that they fit the file's size."""
    from safetensors import safe_open

    with safe_open(path, "pt") as tensors:
        slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 - no mapping
        return {name: (one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}


def _check_sums(shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Sums are unpacked to twice their size; with shapes that do not belong together it would be any size."""
    for name, (kind, shape) in shapes.items():
        group, _, leaf = name.rpartition(".")
        if leaf != "total":
            continue
        positions, dimensions = shape
        if (kind, *shapes[f"{group}.outer"]) != (
            "F64",
            "F64",
            (positions, dimensions * (dimensions + 1) // 2),
        ):
            raise Problem(422, f"the sums of its {group} do not belong together")


def _try(detector: Detector) -> None:
    frame = detector.frame_
    grey = np.full((frame.height, frame.width, 3), 128, np.uint8)
    ((_, verdict),) = detector.judge([grey])
    if isinstance(verdict, ImageError) or not math.isfinite(
        verdict.score + float(np.abs(verdict.anomaly_map).sum())
    ):
        raise Problem(422, "it gives no finite score for an image; fit it anew")
    _ = verdict.regions
