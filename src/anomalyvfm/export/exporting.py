"""From a fitted detector to an exported folder: the graph, in a precision that holds, compared, sealed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from anomalyvfm.data import ImageError, ImageSource, read_many, read_source
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.export.assembling import OPSET, assemble
from anomalyvfm.export.graph import JudgingGraph
from anomalyvfm.export.halving import PARTS, halved
from anomalyvfm.export.quantising import quantised
from anomalyvfm.export.writing import check_installed, write_graph
from anomalyvfm.files import new_folder
from anomalyvfm.runtime import Runtime, load
from anomalyvfm.runtime.manifest import write_manifest
from anomalyvfm.version import __version__

__all__ = ["check_installed", "export"]

MOST_DIFFERENT = 0.02
"""Standard deviations of good images by which a score may differ in fp32: roundings, and no more."""

_STORED = 1e-3  # as much again for storage in half precision
_COMPARED = 32  # images


@dataclass(frozen=True)
class Parity:
    """The largest differences over some images."""

    images: int
    score: float
    """In standard deviations of good images' scores."""
    p_value: float
    map: float
    """In standard deviations of good pixels."""

    def describe(self) -> str:
        return (
            f"over {self.images} images score differs by at most {self.score:.2g}, p-value by"
            f" {self.p_value:.2g}, map by {self.map:.2g}"
        )


def compare(expected: Sequence[Verdict], runtime: Runtime, images: Sequence[ImageSource]) -> Parity:
    """How far a runtime's verdicts on ``images`` are from those expected."""
    score = p_value = map_ = 0.0
    for mine, theirs in zip(expected, runtime.predict(images), strict=True):
        score = max(score, abs(mine.score - theirs.score))
        p_value = max(p_value, abs(mine.p_value - theirs.p_value))
        map_ = max(map_, float(np.abs(mine.anomaly_map - theirs.anomaly_map).max()))
    return Parity(len(images), score, p_value, map_)


def export(
    detector: Detector,
    out: Path,
    kind: str,
    precision: str = "fp32",
    images: Sequence[ImageSource] = (),
    overwrite: bool = False,
    source: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write an exported folder, whole or not at all, and return what its manifest says.

    ``images`` are good ones, to compare the exported model with the detector and to quantise by; the
    gallery's pictures where none are given. ``source`` is what the manifest says of the model. Raises
    InputError where there are no images, where fp32 differs from the detector by more than
    `MOST_DIFFERENT`, and where a precision would cost accuracy.
    """
    good = _good_images(detector, images)
    shown = good[:: -(-len(good) // _COMPARED)]
    expected = detector.predict(shown)
    model = assemble(JudgingGraph(detector), detector.frame_, branching=kind == "onnx")
    with tempfile.TemporaryDirectory(prefix="anomalyvfm-") as scratch:
        attempts = _Attempts(detector, kind, Path(scratch))
        exact = attempts.loaded(model)
        parity = compare(expected, exact, shown)
        if parity.score > MOST_DIFFERENT:
            raise InputError(
                f"{out}: not written, for the exported graph does not judge as the model does:"
                f" {parity.describe()}; at most {MOST_DIFFERENT:g} in the score is let pass"
            )
        kept: list[str] = []
        cost: dict[str, float] = {}
        if precision == "fp16":
            model, kept = _stored_in_half(model, exact.predict(shown), shown, attempts)
        elif precision == "int8":
            model, cost = quantised(model, good, exact, attempts.loaded, Path(scratch), detector.seed)
        if precision != "fp32":
            parity = compare(expected, attempts.loaded(model), shown)
    manifest = {
        **_facts(detector),
        "kind": kind,
        "precision": precision,
        "kept_in_fp32": kept,
        "quantisation": cost,
        "opset": OPSET,
        "ir_version": model.ir_version,
        "parity": asdict(parity),
        "model": source or {},
    }
    with new_folder(out, overwrite) as folder:
        write_graph(model, folder, kind)
        write_manifest(folder, manifest)
    return manifest


class _Attempts:
    """Graphs written to a scratch folder and loaded as an inspection PC would."""

    def __init__(self, detector: Detector, kind: str, folder: Path) -> None:
        self._detector = detector
        self._kind = kind
        self._folder = folder
        self._count = 0

    def loaded(self, model: ModelProto) -> Runtime:
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        write_graph(model, folder, self._kind)
        write_manifest(folder, {**_facts(self._detector), "kind": self._kind})
        return load(folder)


def _stored_in_half(
    model: ModelProto, expected: list[Verdict], shown: Sequence[ImageSource], attempts: _Attempts
) -> tuple[ModelProto, list[str]]:
    """As much of the model in half precision as leaves scores where they are, and what was kept as it is."""
    differences = []
    for parts in (PARTS, PARTS[1:], PARTS[:1]):
        smaller = halved(model, parts)
        difference = compare(expected, attempts.loaded(smaller), shown).score
        if difference <= _STORED:
            return smaller, [part for part in PARTS if part not in parts]
        differences.append(difference)
    raise InputError(
        f"fp16 would change scores by {min(differences):.2g} standard deviations of good images at least,"
        f" over the {_STORED:g} allowed; export fp32"
    )


def _good_images(detector: Detector, images: Sequence[ImageSource]) -> list[NDArray[np.uint8]]:
    """On the frame. Raises InputError where there are none."""
    settings = detector.settings.image
    sources: Sequence[ImageSource] = images or [
        one.picture for one in detector.pipeline_.gallery.images.values()
    ]
    read = [image for _, image in read_many(sources, lambda source: read_source(source, settings))]
    readable = [detector.frame_.place(image) for image in read if not isinstance(image, ImageError)]
    if not readable:
        raise InputError(
            "the exported model is compared with the fitted one on good images, and this model keeps none:"
            " give some by --images"
            if not images
            else f"none of the {len(images)} images for comparison could be read; the first: {read[0]}"
        )
    return readable


def _facts(detector: Detector) -> dict[str, Any]:
    """What verdicts need beside the graph."""
    calibration = detector.calibration_
    settings = detector.settings.image
    usual = calibration.usual_levels
    views = detector.pipeline_.extractor.views
    return {
        "anomalyvfm_version": __version__,
        "input_frame": asdict(detector.frame_),
        "views": {
            "sizes": [[view.height, view.width] for view in views],
            "standard_exposure": settings.exposure == "standard",
        },
        **({} if detector.roi_ is None else {"roi": detector.roi_.describe()}),
        "image": {"max_pixels": settings.max_pixels, "white_level": settings.white_level},
        "regions": detector.settings.regions.model_dump(),
        "calibration": {
            "images": calibration.count,
            "groups": calibration.independent,
            "false_alarm_rate": calibration.false_alarm_rate,
            "promised": calibration.promised,
            "threshold": calibration.threshold,
            "low_threshold": calibration.low_threshold,
            "high_threshold": calibration.high_threshold,
            "map_location": calibration.map_location,
            **({} if usual is None else {"usual_levels": usual.tolist()}),
            "map_maxima": calibration.map_maxima.tolist(),
            "cross_fitted": calibration.cross_fitted,
            "scores": calibration.scores.tolist(),
        },
    }
