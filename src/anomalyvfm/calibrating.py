"""A detector's calibration: made of good images' scores, and as a model folder keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from anomalyvfm.decision.calibration import CALIBRATION_ARRAYS, Alternative, Calibration, GoodScores
from anomalyvfm.decision.odd_patches import ODD_ARRAYS, OddPatches
from anomalyvfm.errors import InputError
from anomalyvfm.features.extractor import ImageSource, source_names
from anomalyvfm.features.grouping import group_named
from anomalyvfm.presets import CalibrationSettings

# Of the images that calibrated, for a look at whether all were good: at least so many, and all outliers.
_ODDEST_KEPT = 10


def calibration_of(
    scores: GoodScores, images: int, rates: CalibrationSettings, alternatives: tuple[Alternative, ...]
) -> Calibration:
    """The calibration by good images' scores; InputError where none of the ``images`` could be read."""
    if not len(scores):
        raise InputError(f"too few of the {images} images could be read to calibrate with")
    return Calibration(
        scores.image_scores,
        scores.map_maxima,
        scores.map_histogram,
        alternatives,
        rates.false_alarm_rate,
        rates.pixel_rate,
        scores.cross_fitted,
        scores.groups,
        scores.odd,
        scores.map_levels,
    )


def stored_calibration(
    description: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    rates: CalibrationSettings,
    alternatives: tuple[Alternative, ...],
) -> Calibration:
    """The calibration that a model folder keeps, at the ``rates`` of the settings."""
    odd = {name: tensors[_odd(name)].numpy() for name in ODD_ARRAYS if _odd(name) in tensors}
    known = {name: f"calibration.{name}" for name in CALIBRATION_ARRAYS}
    return Calibration(
        **{name: tensors[key].numpy() for name, key in known.items() if key in tensors},
        alternatives=alternatives,
        false_alarm_rate=rates.false_alarm_rate,
        pixel_rate=rates.pixel_rate,
        cross_fitted=description["cross_fitted"],
        groups=description.get("groups"),
        odd=OddPatches.from_arrays(odd) if odd else None,
    )


def calibration_tensors(calibration: Calibration) -> dict[str, torch.Tensor]:
    """What a model folder keeps of it."""
    odd = {} if calibration.odd is None else calibration.odd.arrays()
    arrays = {
        **{f"calibration.{name}": array for name, array in calibration.arrays().items()},
        **{_odd(name): array for name, array in odd.items()},
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def oddest_of(names: Sequence[str], calibration: Calibration) -> list[tuple[str, float]]:
    """Names and scores of the images that calibrated, the oddest first: ten, or all outliers."""
    found = zip(names, calibration.score(calibration.image_scores).tolist(), strict=True)
    ordered = sorted(found, key=lambda one: -one[1])
    outlying = sum(score > calibration.outlying for _, score in ordered)
    return ordered[: max(_ODDEST_KEPT, outlying)]


def described_scores(images: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    """Names and scores of images, as ``model.json`` has them."""
    return [{"image": name, "score": round(score, 4)} for name, score in images]


def stored_scores(described: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """What `described_scores` made a description of."""
    return [(one["image"], one["score"]) for one in described]


def require_enough(learned: Sequence[ImageSource], validation: Sequence[ImageSource], rule: str) -> None:
    """Raise InputError for fewer than two good images, and for a rule of groups by which none is named."""
    count = len(learned)
    if count < 1 or count + len(validation) < 2:
        raise InputError(
            f"{count} good image{'s' * (count != 1)} to learn from; at least 2 are needed,"
            " 100 or more for a false-alarm promise of 1 %"
        )
    names = source_names([*learned, *validation])
    if rule == "alike" or any(group_named(name, rule) is not None for name in names):
        return
    if rule == "folder":
        raise InputError("calibration.groups=folder: all images are in one folder; give one for each group")
    raise InputError(
        f"calibration.groups={rule}: no image is named so, {names[0]} for one; give a pattern of file names"
        " with {} for the group, such as {}_*"
    )


def _odd(name: str) -> str:
    """What an array of the odd patches is called in a file."""
    return f"calibration.odd_{name}"
