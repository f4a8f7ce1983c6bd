"""An exported model as a judge: the verdicts of the detector it was made from, without torch."""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data.parallel import cores, read_many
from anomalyvfm.data.pixels import ImageError, written_out
from anomalyvfm.data.placing import InputFrame
from anomalyvfm.data.roi import Roi
from anomalyvfm.data.sources import ImageSource, describe, read_source, several
from anomalyvfm.data.views import views_of
from anomalyvfm.decision.calibration import high_threshold, images_needed, score_threshold
from anomalyvfm.decision.drift import DriftTest
from anomalyvfm.decision.own_thresholds import own_thresholds
from anomalyvfm.decision.verdict import Verdict, whole
from anomalyvfm.errors import InputError
from anomalyvfm.runtime.engines import Engine, OnnxEngine, OpenVinoEngine, Outputs
from anomalyvfm.runtime.manifest import GRAPHS, LIGHT, read_manifest

_READY = 8  # so many images lie ready beside those that are judged at once
_FACTS = ("threshold", "low_threshold", "high_threshold", "promised")


@dataclass(frozen=True)
class Reading:
    """How files are read, as the fitted model did."""

    max_pixels: int
    white_level: int


@dataclass(frozen=True)
class RuntimeSettings:
    """Of the fitted model's settings those that still matter."""

    image: Reading


@dataclass(frozen=True)
class _Taken:
    """An image as the engine takes it, whole or its views, and the size it had."""

    inputs: tuple[NDArray[np.uint8], ...]
    size: tuple[int, int]


@dataclass
class _Call:
    """What goes into the graph at once: images of one size, with the unreadable ones that came between."""

    items: list[tuple[ImageSource, _Taken | ImageError]] = field(default_factory=list)
    result: Callable[[], Outputs] | None = None

    @property
    def images(self) -> list[_Taken]:
        return [taken for _, taken in self.items if isinstance(taken, _Taken)]

    def fits(self, taken: _Taken | ImageError, together: int) -> bool:
        images = self.images
        if isinstance(taken, ImageError) or not images:
            return len(self.items) < together
        return len(images) < together and images[0].inputs[0].shape == taken.inputs[0].shape


def load(folder: str | Path, threads: int | None = None, reading: Mapping[str, Any] | None = None) -> Runtime:
    """The exported model in a folder; ``threads`` of the CPU judge at once, by default one a core.

    ``reading`` says which of ``image.max_pixels``, ``image.white_level``, ``regions.min_level`` and
    ``regions.min_area`` are others now. Raises InputError where a file is missing or changed, its runtime is
    not installed, or cannot load it.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for key, value in (reading or {}).items():
        group, name = key.split(".")
        manifest[group][name] = _number(key, value, float if name == "min_level" else int)
    frame = InputFrame(**manifest["input_frame"])
    path = folder / GRAPHS[manifest["kind"]]
    threads = threads or cores()
    if manifest["kind"] == "openvino":
        sizes = [(height, width) for height, width in manifest.get("views", {}).get("sizes", ())]
        views = sizes if find_spec("PIL") else ()
        return Runtime(manifest, frame, OpenVinoEngine(path, threads, frame, views))
    return Runtime(manifest, frame, OnnxEngine(path, threads))


def _number(key: str, value: Any, kind: type[float]) -> float:
    try:
        number = kind(value)
    except ValueError as error:
        wanted = "a whole number of pixels or grey levels" if kind is int else "a number"
        raise InputError(f"{key}: {error}: give {wanted}") from None
    if not 0 <= number < math.inf:
        raise InputError(f"{key}: {value}: give 0 or more")
    return number


class Runtime:
    """Judges images as the fitted detector does; its verdicts give no reasons, for these need the detector.

    Where Pillow is installed it places images in the frame, as for a detector; else the graph does, which
    may differ by a grey level.
    """

    def __init__(self, manifest: dict[str, Any], frame: InputFrame, engine: Engine) -> None:
        self.manifest = manifest
        self.frame = frame
        self.settings = RuntimeSettings(Reading(**manifest["image"]))
        self.roi = Roi.stored(manifest["roi"]) if "roi" in manifest else None
        self._inside = None if self.roi is None else self.roi.in_frame(frame)
        self._least = manifest["regions"]["min_level"], manifest["regions"]["min_area"]
        self._engine = engine
        self._facts = {name: manifest["calibration"][name] for name in _FACTS}
        self._places = find_spec("PIL") is not None
        self._views = [InputFrame(*size) for size in manifest["views"]["sizes"]] if engine.views else []

    def predict(self, images: ImageSource | Sequence[ImageSource]) -> list[Verdict]:
        """A verdict for every image: files, bytes, arrays, tensors or PIL images, one or many, or a folder.

        Raises ImageError at the first that cannot be read."""
        return whole(self.judge(several(images)))

    def judge(self, images: Iterable[ImageSource]) -> Iterator[tuple[ImageSource, Verdict | ImageError]]:
        """Verdicts as they come, in order, in constant memory; an unreadable image gives its error.

        Images are files, files' bytes or arrays, as for `Detector.judge`. Raises InputError for files where
        Pillow is not installed.
        """
        started = time.perf_counter()
        under_way: deque[_Call] = deque()
        for call in self._calls(images):
            under_way.append(self._begun(call))
            while len(under_way) >= self._engine.calls:
                yield from self._finished(under_way.popleft(), time.perf_counter() - started)
                started = time.perf_counter()
        while under_way:
            yield from self._finished(under_way.popleft(), time.perf_counter() - started)
            started = time.perf_counter()

    @property
    def together(self) -> int:
        """How many images it judges at once, where there are so many."""
        return self._engine.together

    @property
    def runs_on(self) -> str:
        """As `Detector.runs_on`: whatever the engine, it runs on a CPU."""
        return "cpu"

    def with_false_alarm_rate(self, rate: float) -> Runtime:
        """This model with the thresholds of another rate.

        Raises InputError where scipy is missing and so few good images calibrated that it takes it.
        """
        known = self.manifest["calibration"]
        scores, maxima = (np.array(known[name], np.float64) for name in ("scores", "map_maxima"))
        location = (known["map_location"][0], known["map_location"][1])
        try:
            threshold = score_threshold(scores, rate)
            level = high_threshold(maxima, location, rate, known["low_threshold"])
        except ImportError:
            raise InputError(
                f"a rate of {rate:.2%} by {len(scores)} good images takes scipy: pip install scipy"
            ) from None
        facts = {
            "threshold": threshold,
            "high_threshold": level,
            "false_alarm_rate": rate,
            "promised": known.get("groups", len(scores)) >= images_needed(rate),
        }
        other = copy.copy(self)
        other.manifest = {**self.manifest, "calibration": {**known, **facts}}
        other._facts = {name: other.manifest["calibration"][name] for name in _FACTS}
        return other

    def drift_test(self, images_between_false_alarms: float, seed: int = 0) -> DriftTest:
        """A running test whether good images still score as those that calibrated."""
        calibration = self.manifest["calibration"]
        return DriftTest(
            calibration["scores"],
            calibration["threshold"],
            images_between_false_alarms,
            seed,
            calibration["cross_fitted"],
        )

    def _calls(self, images: Iterable[ImageSource]) -> Iterator[_Call]:
        call = _Call()
        for source, taken in read_many(images, self._take, ahead=self.together + _READY):
            if not call.fits(taken, self.together):
                yield call
                call = _Call()
            call.items.append((source, taken))
        if call.items:
            yield call

    def _take(self, source: ImageSource) -> _Taken:
        image = read_source(source, self.settings.image)
        size = (image.shape[0], image.shape[1])
        if self.roi is not None:
            self.roi.require_fit_of(size, self.frame, describe(source))
        pixels = self.frame.place(image) if self._places else image
        inputs = (
            views_of(pixels, self._views, self.manifest["views"]["standard_exposure"], self._inside)
            if self._views
            else (written_out(pixels),)
        )
        return _Taken(inputs, size)

    def _begun(self, call: _Call) -> _Call:
        if images := call.images:
            inputs = zip(*(taken.inputs for taken in images), strict=True)
            call.result = self._engine.begin([np.stack(of_all) for of_all in inputs])
        return call

    def _finished(self, call: _Call, seconds: float) -> Iterator[tuple[ImageSource, Verdict | ImageError]]:
        waiting = time.perf_counter()
        outputs = {} if call.result is None else call.result()
        share = (seconds + time.perf_counter() - waiting) / len(call.items)
        row = 0
        for source, taken in call.items:
            if isinstance(taken, ImageError):
                yield source, taken
                continue
            yield source, self._verdict({name: values[row] for name, values in outputs.items()}, taken, share)
            row += 1

    def _verdict(self, outputs: Outputs, taken: _Taken, seconds: float) -> Verdict:
        score = float(outputs["score"])
        anomalous = score > self._facts["threshold"]
        verdict = Verdict(
            score=score,
            p_value=float(outputs["p_value"]),
            anomalous=anomalous,
            **self._facts,
            anomaly_map=outputs["grid"],
            size=taken.size,
            frame=self.frame,
            roi=self.roi,
            least=self._least,
            seconds=seconds,
            summary=outputs["summary"],
            light=float(outputs[LIGHT]) if LIGHT in outputs else None,
            own_thresholds=self._own_thresholds(outputs["grid"]) if anomalous else None,
        )
        return verdict.by_regions()

    def _own_thresholds(self, grid: NDArray[np.float32]) -> tuple[float, float] | None:
        """Of an image by its map (h, w); None of a model exported before they were."""
        known = self.manifest["calibration"]
        if "usual_levels" not in known:
            return None
        location = (known["map_location"][0], known["map_location"][1])
        model = self._facts["low_threshold"], self._facts["high_threshold"]
        return own_thresholds(grid, location, known["usual_levels"], *model)
