"""A detector that judges by brightness alone: the station's tests need its manners, not its eyes."""

from __future__ import annotations

import copy
import hashlib
import json
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.data import InputFrame
from anomalyvfm.data.defects import Defect
from anomalyvfm.decision.calibration import Alternative, Calibration, distance_histogram
from anomalyvfm.decision.drift import DriftTest
from anomalyvfm.decision.reason import GoodPatch, LayerContribution, Reason
from anomalyvfm.decision.regions import Region
from anomalyvfm.decision.verdict import Explain, Verdict
from anomalyvfm.errors import InputError, NotLearnedError
from anomalyvfm.files import new_folder
from anomalyvfm.model_folder import SCHEMA_VERSION, read_description

if TYPE_CHECKING:  # torch takes seconds, and nothing here computes with it
    from anomalyvfm.detector import Detector

SIDE = 8


@dataclass(frozen=True)
class ImageSettings:
    white_level: int = 65535


@dataclass(frozen=True)
class _Settings:
    backbone: str = "brightness"
    false_alarm_rate: float = 0.1
    image: ImageSettings = field(default_factory=ImageSettings)


@dataclass(frozen=True)
class FakeGallery:
    """Of all learned images; by content, what each is called."""

    images: dict[str, str]


class FakeDetector:
    """Scores an image by its mean brightness; 100 is usual, and above about 130 anomalous.

    ``defects`` are those it has learned: by content, what each is called and how many pixels show it. None:
    it learns from good images alone.
    """

    def __init__(
        self,
        learned: Iterable[str] = ("training",),
        rate: float = 0.1,
        defects: Mapping[str, tuple[str, int]] | None = None,
    ) -> None:
        self.defects_ = None if defects is None else dict(defects)
        self.settings = _Settings(false_alarm_rate=rate)
        self.learned_ = Counter(learned)
        self.gallery_ = FakeGallery({key: f"{key}.png" for key in self.learned_})
        self.skipped_: list[str] = []
        good = np.exp(np.linspace(-1, 1, 40) * 0.1)
        self.calibration_ = Calibration(
            good[:, None], good, distance_histogram(good), (Alternative((1.0,)),), rate, 0.01
        )

    together = 4

    def judge(self, images: Iterable[Any]) -> Iterator[tuple[Any, Verdict]]:
        for image in images:
            brightness = float(image.mean()) / 100
            score = float(self.calibration_.score(np.array([[brightness]]))[0])
            grid = np.zeros((SIDE, SIDE), np.float32)
            grid[2, 3] = 50.0
            yield (
                image,
                Verdict(
                    score=score,
                    p_value=self.calibration_.p_value(score),
                    anomalous=score > self.calibration_.threshold,
                    threshold=self.calibration_.threshold,
                    anomaly_map=grid,
                    size=image.shape[:2],
                    frame=InputFrame(64, 64),
                    low_threshold=2.0,
                    high_threshold=10.0,
                    promised=self.calibration_.promised,
                    seconds=0.001,
                    summary=np.zeros(1, np.float32),
                    explain=self._explain(),
                ),
            )

    def _explain(self) -> Explain:
        """Every region is most like the image learned last, a little up and to the left."""
        key, name = list(self.gallery_.images.items())[-1]
        shade = int(hashlib.sha256(key.encode()).hexdigest()[:2], 16)
        layers = (LayerContribution(4, 0.64, "patterns"), LayerContribution(5, 0.36, "parts"))

        def explain(regions: Sequence[Region], size: tuple[int, int]) -> list[Reason]:
            picture = np.full((16, 16, 3), shade, np.uint8)
            boxes = [
                (one.bbox[0] - 20, one.bbox[1] - 20, one.bbox[2] - 20, one.bbox[3] - 20) for one in regions
            ]
            return [Reason(GoodPatch(name, box, 0.71, size, picture), layers) for box in boxes]

        return explain

    def prepare(self) -> None:
        """Nothing to derive."""

    def clone(self) -> FakeDetector:
        return copy.deepcopy(self)

    def with_false_alarm_rate(self, rate: float) -> FakeDetector:
        other = copy.copy(self)
        other.settings = replace(self.settings, false_alarm_rate=rate)
        other.calibration_ = replace(self.calibration_, false_alarm_rate=rate)
        return other

    def with_calibration(self, calibration: Calibration) -> FakeDetector:
        other = copy.copy(self)
        rate = self.calibration_.false_alarm_rate
        other.calibration_ = replace(calibration, false_alarm_rate=rate)
        return other

    def save_calibration(self, folder: Path) -> None:
        with new_folder(folder) as partial:
            body = {
                "rate": self.calibration_.false_alarm_rate,
                "scores": self.calibration_.image_scores[:, 0].tolist(),
            }
            (partial / "calibration.json").write_text(json.dumps(body))

    def with_saved_calibration(self, folder: Path) -> FakeDetector:
        body = json.loads((folder / "calibration.json").read_text())
        other = self.with_false_alarm_rate(body["rate"])
        scores = np.array(body["scores"])
        other.calibration_ = replace(other.calibration_, image_scores=scores[:, None], map_maxima=scores)
        return other

    def update(self, images: Sequence[Any], names: Sequence[str]) -> FakeDetector:
        self.learned_.update(map(_key, images))
        new = {_key(image): name for image, name in zip(images, names, strict=True)}
        self.gallery_ = FakeGallery(self.gallery_.images | new)
        return self

    def forget(self, images: Sequence[Any]) -> FakeDetector:
        for image in images:
            if not self.learned_[_key(image)]:
                raise NotLearnedError("an image of ndarray: not among the images this model learned")
        self.learned_.subtract(map(_key, images))
        self.learned_ += Counter()
        kept = {key: name for key, name in self.gallery_.images.items() if self.learned_[key]}
        self.gallery_ = FakeGallery(kept)
        return self

    def confirm(self, defects: Sequence[Defect], names: Sequence[str]) -> FakeDetector:
        if self.defects_ is None:
            raise InputError("this preset learns from good images alone; v2 learns from defects, too")
        for defect, name in zip(defects, names, strict=True):
            image = np.asarray(defect.image)
            if self.learned_[_key(image)]:
                raise InputError("an image of ndarray: among the good images, too")
            mask = defect.marked((image.shape[0], image.shape[1]))
            self.defects_[_key(image)] = name, -1 if mask is None else int(mask.sum())
        return self

    def take_back(self, images: Sequence[Any]) -> FakeDetector:
        for image in images:
            if self.defects_ is None or _key(image) not in self.defects_:
                raise NotLearnedError("an image of ndarray: not among the confirmed defects")
            del self.defects_[_key(image)]
        return self

    def calibrate(self, images: Sequence[Any]) -> FakeDetector:
        scores = np.array([[image.mean() / 100] for image in images])
        self.calibration_ = replace(self.calibration_, image_scores=scores, map_maxima=scores[:, 0])
        return self

    def drift_test(self, images_between_false_alarms: float) -> DriftTest:
        calibration = self.calibration_
        return DriftTest(calibration.scores, calibration.threshold, images_between_false_alarms)

    def describe(self) -> dict[str, Any]:
        calibration = self.calibration_
        return {
            "learned": sorted(self.learned_.elements()),
            "known_defects": self.defects_,
            "calibration": {
                "images": calibration.count,
                "false_alarm_rate": calibration.false_alarm_rate,
                "threshold": calibration.threshold,
                "promised": calibration.promised,
            },
            "fitted_on": {"images": self.learned_.total()},
        }

    def save(self, folder: Path) -> None:
        body: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **self.describe()}
        body["gallery"] = self.gallery_.images
        body["sha256"] = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        with new_folder(folder) as partial:
            (partial / "model.json").write_text(json.dumps(body))

    @classmethod
    def load(cls, folder: Path) -> Detector:
        description = read_description(folder)
        rate = description["calibration"]["false_alarm_rate"]
        fake = cls(description["learned"], rate, description["known_defects"])
        fake.gallery_ = FakeGallery(description["gallery"])
        return cast("Detector", fake)


def picture(brightness: int, seed: int = 0, side: int = 32) -> bytes:
    """A PNG of that mean brightness; different seeds give different files."""
    noise = np.random.default_rng(seed).integers(-3, 4, (side, side, 1))
    pixels = np.clip(brightness + noise, 0, 255).astype(np.uint8).repeat(3, 2)
    return png(pixels)


def png(pixels: NDArray[np.uint8]) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that claims, and has, that many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(b"\0" * ((width // 8 + 1) * min(height, 5000)), 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def learned(detector: Detector) -> Counter[Any]:
    """What a fake has learned, by content."""
    return cast(FakeDetector, detector).learned_


def known_defects(detector: Detector) -> dict[str, tuple[str, int]] | None:
    """What a fake has learned of defects, by content."""
    found = cast(FakeDetector, detector).defects_
    return None if found is None else {key: (name, count) for key, (name, count) in found.items()}


def _key(image: NDArray[np.uint8]) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()
