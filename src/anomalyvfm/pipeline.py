"""What a pipeline is: it owns all that is learned, from fit to file, and gives anomaly maps and scores.

A pipeline is a room of its own with a subclass of :class:`Pipeline` in it; `Detector` delegates to it.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from anomalyvfm.data.defects import Defect
from anomalyvfm.decision.calibration import Alternative, Calibration, GoodScores
from anomalyvfm.decision.odd_patches import OddPatches
from anomalyvfm.errors import InputError, NotLearnedError
from anomalyvfm.explain.explainer import Explainer
from anomalyvfm.explain.gallery import Gallery
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.core_threads import over_cores
from anomalyvfm.features.extractor import Extracted, Extractor, ImageSource, describe, source_names
from anomalyvfm.features.grouping import group_named, groups_of, placed_features
from anomalyvfm.tracking import Tracker

Array = NDArray[np.float64]

# At least: what was learned goes through memory for each part.
_IMAGES_A_PART = 8
# So many images that calibrate are put in groups: each is compared with each.
_MOST_COMPARED = 2000


@dataclass(frozen=True)
class Distances:
    """How far B images are from good ones, before calibration."""

    patch_distances: Tensor
    """(B, H, W) distance of every patch embedding; about 1 on good images."""
    image_scores: Tensor
    """(B, K) > 0: K scores of the image as a whole, which calibration joins into one."""
    odd: OddPatches | None = None
    """What good images show where they are oddest, where that is kept."""

    def numpy(self) -> tuple[Array, Array]:
        """Both as float64 on the CPU."""
        return self.patch_distances.double().cpu().numpy(), self.image_scores.double().cpu().numpy()


@dataclass(frozen=True)
class Spread:
    """How good images' patch embeddings vary."""

    spectrum: Array
    """(D,) eigenvalues of their covariance within positions, pooled over these; falling."""
    by_position: Array
    """(h, w) standard deviation at each position, 1 at the average one."""


class Scorer(ABC):
    """Knows good images by sums over their features, on a ``device``.

    ``alternatives`` tell calibration how to join its K image scores into one; the last of them is that of
    the light where it ``judges_light``.
    """

    device: torch.device
    judges_light: bool = False
    alternatives: tuple[Alternative, ...]

    @abstractmethod
    def learn(self, features: PatchFeatures, sign: int = 1) -> None:
        """Add features of good images to the sums, or with ``sign=-1`` take them back."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Add what another has learned. Raises InputError where the shapes differ."""

    @abstractmethod
    def distances(self, features: PatchFeatures) -> Distances:
        """How far images are from what has been learned."""

    def distances_of_good(self, features: PatchFeatures) -> Distances:
        """How far good images are that calibrate, but for what confirmed defects add to it."""
        return self.distances(features)

    def distances_in_parts(
        self, features: PatchFeatures, distances: Callable[[PatchFeatures], Distances]
    ) -> Distances:
        """As ``distances`` of this scorer, where on a CPU each core takes images of its own.

        Steps on a few images are short. Each of them spread over the cores would take twice their time, where
        a backbone sees the next images meanwhile.
        """
        self.derive()
        images = max(_IMAGES_A_PART, math.ceil(len(features.summary) / torch.get_num_threads()))
        parts = over_cores(distances, features.split(images), self.device)
        odd = [part.odd for part in parts if part.odd is not None]
        return Distances(
            torch.cat([part.patch_distances for part in parts]),
            torch.cat([part.image_scores for part in parts]),
            OddPatches.joined(odd) if odd else None,
        )

    @abstractmethod
    def derive(self) -> None:
        """Make from the sums what distances need, now, where it is not made yet."""

    @abstractmethod
    def spread(self) -> Spread | None:
        """How what was learned varies; None where it is a single vector."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What two scorers must have in common for their sums to add up, as plain data."""

    @abstractmethod
    def to_tensors(self) -> dict[str, Tensor]:
        """All that was learned, to be stored."""


@dataclass(frozen=True)
class Good:
    """The images of a fit: those to learn, those that calibrate, and their category if it has a name.

    Beside them ``defects``, which a person has confirmed.
    """

    images: Sequence[ImageSource]
    validation: Sequence[ImageSource]
    category: str | None
    defects: Sequence[Defect] = ()


@dataclass(frozen=True)
class Stored:
    """A model as it was kept: what ``model.json`` says, and its tensors by name."""

    description: dict[str, Any]
    tensors: dict[str, Tensor]


class Pipeline(ABC):
    """From images to anomaly maps, image scores and reasons.

    A subclass takes ``(settings, backbone, frame, seed, stored)``: the preset with all overrides, what sees
    images in the frame, the seed of every random choice, and the model to restore or None.

    Attributes
    ----------
    extractor : the path from files to features
    scorer : what has been learned, by which images are judged
    gallery : good images kept small, to show beside odd ones
    learned : how often each image was learned, by its key
    skipped : messages about images that could not be read
    brightest : the largest pixel value of all images learned, of 255
    light_share : share of the images that is learned under another light, too
    grouped_by : the rule of `group_named`
    """

    scorer: Scorer
    light_share = 0.0
    grouped_by = "alike"

    def __init__(self, extractor: Extractor, gallery: Gallery, stored: Stored | None) -> None:
        self.extractor = extractor
        self.gallery = gallery
        self.learned: Counter[int] = Counter()
        self.skipped: list[str] = []
        self.brightest = 0
        if stored is not None:
            self.learned.update(stored.tensors["learned"].tolist())
            self.brightest = stored.description["fitted_on"].get("brightest", 255)

    @abstractmethod
    def fit(self, good: Good, folder: Path, track: Tracker, checkpoint: Path | None) -> GoodScores:
        """Learn, and score good images by a scorer that has not learned them.

        What is large goes to ``folder``, which is gone afterwards; training keeps its state in
        ``checkpoint``. Raises InputError where there are too few images that can be read.
        """

    def explainer(self) -> Explainer | None:
        """What gives reasons; None where the scorer knows neither places nor layers."""
        return None

    def describe(self) -> dict[str, Any]:
        """What ``model.json`` says of this pipeline beside what all have in common."""
        return {"adaptation": None}

    @property
    def changes_backbone(self) -> bool:
        """Whether the backbone is no longer the one it was given."""
        return False

    def learn(
        self,
        images: Sequence[ImageSource],
        track: Tracker,
        names: Sequence[str] | None = None,
        sign: int = 1,
        description: str = "learning",
    ) -> None:
        """Add images to what is known, or with ``sign=-1`` take them back; ``names`` are for the gallery."""
        names = source_names(images) if names is None else names
        for batch in self._batches(images, track, description, self.light_share):
            self._learn_batch(batch, names, sign)

    def forget(self, images: Sequence[ImageSource], track: Tracker) -> None:
        """Take images back.

        Raises InputError, and changes nothing, where one was not learned or none would be left.
        """
        leaving: Counter[int] = Counter()
        for source, key in self.extractor.keys(images):
            leaving[key] += 1
            if leaving[key] > self.learned[key]:
                raise NotLearnedError(
                    f"{describe(source)}: not among the images this model learned; nothing was forgotten"
                )
        if leaving.total() >= self.learned.total():
            raise InputError("a model cannot forget every image it learned; fit a new one")
        self.learn(images, track, sign=-1, description="forgetting")
        self.gallery = self.gallery.without(lambda key: self.learned[key] < 1)

    def score(self, images: Sequence[ImageSource], scores: GoodScores, track: Tracker) -> None:
        """Add to ``scores`` what good images, which have not been learned, score; of copies one counts.

        Of more than a few thousand the first are put in groups: at least so many there are.
        """
        names = source_names(images)
        seen: set[int] = set()
        placed: list[NDArray[np.float32]] = []
        compared = 0
        for batch in self._batches(images, track, "calibrating"):
            self._note_broken(batch)
            rows = []
            for row, image in enumerate(batch.images):
                if image.key not in seen:  # a copy backs no promise
                    seen.add(image.key)
                    rows.append(row)
            if batch.features is not None and rows:
                features = batch.features.rows(rows)
                found = self.scorer.distances_in_parts(features, self.scorer.distances_of_good)
                scores.add(*found.numpy(), [names[batch.positions[row]] for row in rows], found.odd)
                if compared < _MOST_COMPARED:
                    compared += len(rows)
                    placed.append(placed_features(features.scales[-1].patches).cpu().numpy())
        if placed:
            named = [group_named(name, self.grouped_by) for name in scores.names[-len(seen) :][:compared]]
            scores.groups += int(groups_of(np.concatenate(placed), range(compared), named).max()) + 1

    def merge(self, other: Pipeline) -> None:
        """Add what another of the same identity has learned."""
        self.scorer.merge(other.scorer)
        self.gallery = self.gallery.merge(other.gallery)
        self.learned = self.learned + other.learned
        self.skipped = self.skipped + other.skipped
        self.brightest = max(self.brightest, other.brightest)

    def confirm(
        self,
        defects: Sequence[Defect],
        calibration: Calibration,
        track: Tracker,
        names: Sequence[str] | None = None,
    ) -> Calibration:
        """Keep what confirmed defects show; the ``calibration`` made anew with them.

        Raises InputError for a pipeline of good images alone.
        """
        raise InputError("this preset learns from good images alone; v2 learns from defects, too")

    def take_back(self, images: Sequence[ImageSource]) -> None:
        """Forget confirmed defects. Raises NotLearnedError, and changes nothing, where one was not."""
        raise NotLearnedError("this preset learns from good images alone; no defect was confirmed")

    def with_defects(self, calibration: Calibration) -> Calibration:
        """A calibration of this pipeline, made anew with the defects that are confirmed now."""
        return calibration

    def clone(self) -> Self:
        """A copy that may learn and forget while the original judges; they share the backbone."""
        other = copy.copy(self)
        other.scorer = copy.deepcopy(self.scorer)
        other.learned = self.learned.copy()
        other.skipped = []
        return other

    def identity(self) -> dict[str, Any]:
        """What two models must have in common for their sums to add up, as plain data."""
        backbone = self.extractor.backbone
        return {
            "backbone": {
                "name": backbone.name,
                "layers": list(backbone.layers),
                "weight_hash": backbone.weight_hash,
            },
            "input_frame": asdict(self.extractor.frame),
            "image": self.extractor.settings.model_dump(mode="json"),
            **self.scorer.identity(),
            "encoder": None,
        }

    def to_tensors(self) -> dict[str, Tensor]:
        """All that was learned, to be stored."""
        return {
            **self.scorer.to_tensors(),
            **{f"gallery.{name}": tensor for name, tensor in self.gallery.to_tensors().items()},
            "learned": torch.tensor(sorted(self.learned.elements()), dtype=torch.int64),
        }

    def _batches(
        self, images: Sequence[ImageSource], track: Tracker, description: str, light_share: float = 0
    ) -> Iterable[Extracted]:
        batches = math.ceil(len(images) / self.extractor.batch)
        return track(self.extractor.extract(images, light_share), batches, description)

    def _learn_batch(self, batch: Extracted, names: Sequence[str], sign: int) -> None:
        self._note_broken(batch)
        if batch.features is None:
            return
        self.scorer.learn(batch.features, sign)
        if sign > 0:
            self.gallery = self.gallery.learn(batch, names)
            self._note_brightness(batch)
        for image in batch.images:
            self.learned[image.key] += sign

    def _note_broken(self, batch: Extracted) -> None:
        self.skipped += [str(error) for error in batch.broken.values()]

    def _note_brightness(self, batch: Extracted) -> None:
        self.brightest = max(self.brightest, *(int(image.pixels.max()) for image in batch.images))

    def _require_learned(self, images: Sequence[ImageSource]) -> None:
        if not self.learned:
            raise InputError(f"none of the {len(images)} images could be read; the first: {self.skipped[0]}")


class Engine(Protocol):
    """Where the images of a fit are learned, if not by the pipeline itself."""

    def fit(self, pipeline: Pipeline, good: Good, folder: Path, track: Tracker) -> GoodScores:
        """As :meth:`Pipeline.fit`, with the same result."""


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix and a dot, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
