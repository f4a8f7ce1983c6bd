"""The parts in a row: learn from good images, judge new ones."""

from __future__ import annotations

import copy
import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomalyvfm.adapted.adaptation import (
    Adaptation,
    GoodImages,
    adapt,
    check_trainable,
    hold_out,
    scales_of,
    stored_adapter,
)
from anomalyvfm.adapted.adapters import Adapter, to_tensors
from anomalyvfm.adapted.in_encoder import InEncoderAdapter
from anomalyvfm.adapted.scorer import AdaptedScorer, with_token
from anomalyvfm.data import Canvas, Category, ImageError, choose_canvas, open_dataset
from anomalyvfm.decision.calibration import Array, Calibration, GoodScores, images_needed
from anomalyvfm.decision.decide import judge_batch
from anomalyvfm.decision.drift import DriftTest
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.description import describe_model, model_identity
from anomalyvfm.errors import InputError
from anomalyvfm.explain.explainer import Explainer
from anomalyvfm.explain.gallery import Gallery
from anomalyvfm.features import backbones
from anomalyvfm.features.backbones.backbone import Backbone
from anomalyvfm.features.extractor import (
    Extracted,
    Extractor,
    ImageSource,
    describe,
    readable_sizes,
    several,
    source_names,
)
from anomalyvfm.features.grid import Grid
from anomalyvfm.features.store import FeatureStore
from anomalyvfm.model_folder import read_description, read_tensors, write_model
from anomalyvfm.presets import (
    AdaptedPreset,
    GaussianPreset,
    Preset,
    preset,
    stored_preset,
)
from anomalyvfm.scorer import Scorer, under
from anomalyvfm.statistical.cross_fitting import KeptImages, cross_fit
from anomalyvfm.statistical.scorer import PositionalScorer
from anomalyvfm.tracking import Tracker, untracked

# Enough headers to know the usual shape of the images; reading all would take a second pass over them.
_SIZES_LOOKED_AT = 256

# Of the images that calibrated, for a look at whether all were good.
_ODDEST_KEPT = 10

# Of a normal distribution the standard deviation is so many median absolute deviations.
_MAD_OF_NORMAL = 1.4826
# Standard deviations: good images' scores have longer tails than the normal distribution.
_OUTLYING = 5.0

_CALIBRATION_ARRAYS = ("opinions", "peaks", "cells")


class Detector:
    """Visual anomaly detector: ``fit`` on good images, then ``predict``.

    Settings come with the constructor and are not changed by ``fit``; what is learned ends in an
    underscore: ``category_``, ``canvas_``, ``scorer_``, ``adaptation_`` (what was trained, if anything was),
    ``calibration_``, ``gallery_`` (images to show beside odd ones), ``learned_`` (how often each canvas was
    learned), ``skipped_`` (messages about images that could not be read), ``oddest_`` (names and scores of
    the oddest images that calibrated, each scored by a model without it), ``brightest_`` (the largest pixel
    value of all images learned, of 255) and ``fit_seconds_``.

    Parameters
    ----------
    settings : name of a preset, or a Preset
    overrides : dotted settings, e.g. ``{"backbone": "efficientnet-lite0", "image.size": 256}``
    device : "auto", "cpu", "cuda", "mps"
    seed : of every random choice: the images held out for calibration, synthetic defects, training
    backbone : the one that settings name, where it is loaded already
    """

    category_: str | None
    canvas_: Canvas
    scorer_: Scorer
    adaptation_: Adaptation | None
    calibration_: Calibration
    oddest_: list[tuple[str, float]]
    brightest_: int
    gallery_: Gallery
    learned_: Counter[int]
    skipped_: list[str]
    fit_seconds_: float

    def __init__(
        self,
        settings: str | Preset = "v2",
        overrides: Mapping[str, Any] | None = None,
        *,
        device: str = "auto",
        seed: int = 0,
        backbone: Backbone | None = None,
    ) -> None:
        chosen = preset(settings) if isinstance(settings, str) else settings
        chosen = chosen.override(overrides or {})
        self.settings = chosen.override({"backbone": backbones.choose(chosen.backbone, device)})
        self.device = device
        self.seed = seed
        self._backbone = backbone
        self._extractor: Extractor | None = None
        self._in_encoder: InEncoderAdapter | None = None

    # ── learning ────────────────────────────────────────────────────────────────────────────────────

    def fit(
        self,
        images: str | Path | Category | Sequence[ImageSource],
        validation: Sequence[ImageSource] = (),
        track: Tracker = untracked,
        checkpoint: Path | None = None,
    ) -> Detector:
        """Learn from good images: a folder, a data set's category, or a sequence of files or arrays.

        Good images in ``validation`` (or in the category's own split of that name) calibrate. Where they are
        too few for the promise, v2 also judges each learned image by what the others have taught, and v1.1 to
        v1.4 hold out ``calibration.holdout`` if there are none. Unreadable images are left out and named in
        ``skipped_``. Training, where the preset has any, keeps its state in the file ``checkpoint`` and goes
        on from it. Raises InputError for fewer than two usable images.
        """
        if isinstance(images, str | Path):
            images = open_dataset(Path(images), seed=self.seed)
        self.category_ = images.name if isinstance(images, Category) else None
        if isinstance(images, Category):
            validation = validation or [sample.path for sample in images.validation]
            images = [sample.path for sample in images.train]
        started = time.perf_counter()
        images, validation = list(several(images)), list(several(validation))
        if len(images) < 1 or len(images) + len(validation) < 2:
            raise InputError(
                f"{len(images)} good image{'s' * (len(images) != 1)} to learn from; at least 2 are needed,"
                " 100 or more for a false-alarm promise of 1 %"
            )
        self.skipped_, self.brightest_ = [], 0
        if self._in_encoder is not None:  # an earlier fit has changed the network
            self._backbone = self._in_encoder = None
        self.adaptation_ = None
        backbone = self._load_backbone()
        self.canvas_ = choose_canvas(
            readable_sizes(images[:_SIZES_LOOKED_AT], self.settings.image),
            self.settings.image.size or backbone.image_size,
            backbone.multiple,
            self.settings.image.aspect,
        )
        self._begin(backbone)
        with tempfile.TemporaryDirectory(prefix="anomalyvfm-") as folder:
            if isinstance(self.settings, AdaptedPreset):
                self._fit_adapted(images, validation, self.settings, Path(folder), track, checkpoint)
            else:
                self._fit_statistics(images, validation, Path(folder), track)
        self.fit_seconds_ = time.perf_counter() - started
        return self

    def _fit_statistics(
        self,
        images: Sequence[ImageSource],
        validation: Sequence[ImageSource],
        folder: Path,
        track: Tracker,
    ) -> None:
        """Learn all images; calibrate with the validation's, and with those learned where it has too few."""
        assert isinstance(self.settings, GaussianPreset)
        assert isinstance(self.scorer_, PositionalScorer)
        settings = self.settings.calibration
        few = len(validation) < images_needed(settings.false_alarm_rate)
        kept = KeptImages(folder / "features", len(images), settings.images if few else 0, self.seed)
        names = source_names(images)
        share = self.settings.gaussian.relit_share
        for batch in self._batches(images, track, "learning", share):
            self._learn_batch(batch, 1, names)
            kept.add(batch, names)
        self._require_learned(images)
        scores = GoodScores()
        self._score(validation, scores, track)
        if len(scores) < images_needed(settings.false_alarm_rate) and len(kept.keys) > 1:
            cross_fit(self.scorer_, kept, self.settings.batch, self.seed, scores, track)
        self._set_calibration(scores, len(images) + len(validation))

    def calibrate(self, images: ImageSource | Sequence[ImageSource], track: Tracker = untracked) -> Detector:
        """Set scores, p-values and thresholds from good images the model has not learned."""
        images = several(images)
        scores = GoodScores()
        self._score(images, scores, track)
        self._set_calibration(scores, len(images))
        return self

    def _score(self, images: Sequence[ImageSource], scores: GoodScores, track: Tracker) -> None:
        names = source_names(images)
        seen: set[int] = set()
        for batch in self._batches(images, track, "calibrating"):
            self._note_broken(batch)
            rows = []
            for row, image in enumerate(batch.images):
                if image.key not in seen:  # a copy backs no promise
                    seen.add(image.key)
                    rows.append(row)
            if batch.features is not None and rows:
                judged = self.scorer_.distances(batch.features.rows(rows)).numpy()
                scores.add(*judged, [names[batch.positions[row]] for row in rows])

    def _set_calibration(self, scores: GoodScores, images: int) -> None:
        if not len(scores):
            raise InputError(f"too few of the {images} images could be read to calibrate with")
        self.calibration_ = self._calibration(scores.opinions, scores.peaks, scores.cells)
        found = zip(scores.names, self.calibration_.score(scores.opinions).tolist(), strict=True)
        self.oddest_ = sorted(found, key=lambda one: -one[1])[:_ODDEST_KEPT]

    def update(self, images: ImageSource | Sequence[ImageSource], track: Tracker = untracked) -> Detector:
        """Learn more good images; the model is then the one fitted on all of them.

        The calibration stays as it is: good images score lower, on average, the more of them are learned,
        so it errs on the side of fewer alarms. :meth:`calibrate` renews it.
        """
        self._learn(several(images), 1, track, "learning")
        return self

    def forget(self, images: ImageSource | Sequence[ImageSource], track: Tracker = untracked) -> Detector:
        """Take back images that should not have been learned; the model is then as if they never were.

        Raises InputError, and changes nothing, where an image was not learned or none would remain.
        """
        images = several(images)
        leaving: Counter[int] = Counter()
        for source, key in self.require_extractor().keys(images):
            leaving[key] += 1
            if leaving[key] > self.learned_[key]:
                raise InputError(
                    f"{describe(source)}: not among the images this model learned; nothing was forgotten"
                )
        if leaving.total() >= self.learned_.total():
            raise InputError("a model cannot forget every image it learned; fit a new one")
        self._learn(images, -1, track, "forgetting")
        self.gallery_ = self.gallery_.without(lambda key: self.learned_[key] < 1)
        return self

    def merge(self, other: Detector) -> Detector:
        """Add what another detector with the same settings has learned; the calibrations are joined too.

        Raises InputError, and changes nothing, where settings, backbone or canvas differ.
        """
        mine, theirs = self.identity(), other.identity()
        theirs["backbone"]["name"] = mine["backbone"]["name"]  # equal weights may lie elsewhere
        differing = [key for key in mine if mine[key] != theirs[key]]
        if differing:
            raise InputError(
                f"models do not merge: their {', '.join(differing)} differ; fit both with the same settings"
            )
        self.scorer_.merge(other.scorer_)
        self.gallery_ = self.gallery_.merge(other.gallery_)
        self.calibration_ = self.calibration_.merge(other.calibration_)
        self.learned_ = self.learned_ + other.learned_
        return self

    def outlying(self) -> list[tuple[str, float]]:
        """Names and scores of those of ``oddest_`` that are no tail of the others, the oddest first.

        By the modified z-score, of medians, which outliers do not move: Iglewicz & Hoaglin (1993), "How to
        Detect and Handle Outliers".
        """
        scores = self.calibration_.scores
        middle = float(np.median(scores))
        spread = max(_MAD_OF_NORMAL * float(np.median(np.abs(scores - middle))), 0.1)
        return [(name, score) for name, score in self.oddest_ if score > middle + _OUTLYING * spread]

    # ── judging ─────────────────────────────────────────────────────────────────────────────────────

    def predict(self, images: ImageSource | Sequence[ImageSource]) -> list[Verdict]:
        """A verdict for every image: files, bytes, arrays, tensors or PIL images, one or many, or a folder.

        Raises ImageError at the first that cannot be read."""
        verdicts = []
        for _, verdict in self.judge(several(images)):
            if isinstance(verdict, ImageError):
                raise verdict
            verdicts.append(verdict)
        return verdicts

    def judge(
        self, images: Iterable[ImageSource], keep_pixels: bool = False
    ) -> Iterator[tuple[ImageSource, Verdict | ImageError]]:
        """Verdicts as they come, in order, in constant memory; an unreadable image gives its error.

        ``keep_pixels`` leaves each image, as it lies on the canvas, in its verdict.
        """
        extractor = self.require_extractor()
        self.scorer_.derive()  # now, so that the first image's time is its own
        explainer = self._explainer()
        for batch in extractor.extract(images):
            verdicts = judge_batch(
                batch, self.scorer_, self.calibration_, self.canvas_, explainer, keep_pixels
            )
            for position, source in enumerate(batch.sources):
                yield source, batch.broken.get(position) or next(verdicts)

    def with_false_alarm_rate(self, rate: float) -> Detector:
        """This detector with the thresholds of another rate; what it has learned is shared, not copied."""
        other = copy.copy(self)
        other.calibration_ = replace(self.calibration_, false_alarm_rate=rate)
        other.settings = self.settings.override({"calibration.false_alarm_rate": rate})
        return other

    def drift_test(self, images_between_false_alarms: float, seed: int = 0) -> DriftTest:
        """A running test whether good images still score as those that calibrated."""
        calibration = self.calibration_
        # Cross-fitted scores are not quite exchangeable with new ones: those are compared with one another.
        cross_fitted = isinstance(self.settings, GaussianPreset)
        return DriftTest(
            calibration.scores, calibration.threshold, images_between_false_alarms, seed, cross_fitted
        )

    # ── keeping ─────────────────────────────────────────────────────────────────────────────────────

    def describe(self) -> dict[str, Any]:
        """What ``model.json`` says of the model."""
        return describe_model(self)

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write ``model.json`` and ``model.safetensors`` to a new folder, whole or not at all."""
        tensors = {
            **self.scorer_.to_tensors(),
            **({} if self._in_encoder is None else to_tensors(self._in_encoder, "encoder")),
            **{f"gallery.{name}": tensor for name, tensor in self.gallery_.to_tensors().items()},
            "learned": torch.tensor(sorted(self.learned_.elements()), dtype=torch.int64),
            **{
                f"calibration.{name}": torch.from_numpy(getattr(self.calibration_, name))
                for name in _CALIBRATION_ARRAYS
            },
        }
        write_model(Path(folder), self.describe(), tensors, overwrite)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        backbone: str | None = None,
        device: str = "auto",
        reading: Mapping[str, Any] | None = None,
    ) -> Detector:
        """The detector kept in a folder; its next verdicts equal those it gave before.

        ``backbone`` says where the weights are when they have moved since, ``reading`` which of
        ``image.max_pixels`` and ``image.white_level`` are others now. Raises InputError where the
        folder is no whole model, or the weights are not those it was fitted with.
        """
        folder = Path(folder)
        description = read_description(folder)
        fitted_with = description["backbone"]
        settings = stored_preset(description["settings"]).override(reading or {})
        if backbone:
            settings = settings.override({"backbone": backbone})
        self = cls(settings, device=device, seed=description["seed"])
        loaded = self._load_backbone(tuple(fitted_with["layers"]))
        if loaded.weight_hash != fitted_with["weight_hash"]:
            raise InputError(
                f"{folder}: fitted with other weights of {fitted_with['name']}"
                f" ({fitted_with['weight_hash'][:12]}, here {loaded.weight_hash[:12]});"
                " name the ones it was fitted with by --backbone, or fit anew"
            )
        tensors = read_tensors(folder, description)
        self.canvas_ = Canvas(**description["canvas"])
        self.adaptation_ = Adaptation(**described) if (described := description["adaptation"]) else None
        self._begin(loaded, tensors)
        self.learned_ = Counter(tensors["learned"].tolist())
        self.calibration_ = self._calibration(
            **{name: tensors[f"calibration.{name}"].numpy() for name in _CALIBRATION_ARRAYS}
        )
        self.skipped_, self.brightest_ = [], description["fitted_on"].get("brightest", 255)
        oddest = description["fitted_on"].get("oddest", [])
        self.oddest_ = [(one["image"], one["score"]) for one in oddest]
        self.fit_seconds_ = description["fitted_on"]["seconds"]
        self.category_ = description["fitted_on"]["category"]
        return self

    # ── parts ───────────────────────────────────────────────────────────────────────────────────────

    def _load_backbone(self, layers: tuple[int, ...] | None = None) -> Backbone:
        if self._backbone is None:
            wanted = layers or self.settings.features.layers
            self._backbone = backbones.load(self.settings.backbone, layers=wanted, device=self.device)
        return self._backbone

    def _begin(self, backbone: Backbone, tensors: dict[str, Tensor] | None = None) -> None:
        """An empty scorer for the canvas, or with ``tensors`` that of a stored model."""
        settings = self.settings
        self.learned_ = Counter()
        if isinstance(settings, AdaptedPreset):
            scales = scales_of(settings.name)
            self._extractor = Extractor(backbone, self.canvas_, settings.image, settings.batch, scales)
            self.gallery_ = Gallery(
                0, Grid(*self._extractor.grid, backbone.channels, step=1, dimensions=backbone.channels)
            )
            if tensors is None or self.adaptation_ is None:
                self._use(None, tensors)
            else:
                self._use(stored_adapter(settings, self.adaptation_, backbone, tensors, self.seed), tensors)
            return
        assert isinstance(settings, GaussianPreset)
        self._extractor = Extractor(backbone, self.canvas_, settings.image, settings.batch)
        self.scorer_ = PositionalScorer(
            self._extractor.grid,
            backbone.channels,
            backbone.summary_channels,
            settings.gaussian,
            backbone.device,
            tensors,
        )
        kept = {} if tensors is None else under(tensors, "gallery")
        self.gallery_ = Gallery.from_tensors(settings.gallery.images, self.scorer_.grid, kept)

    def _explainer(self) -> Explainer | None:
        """Gives reasons where the scorer knows places and layers; that of v1.1 to v1.4 does not."""
        if not isinstance(self.scorer_, PositionalScorer):
            return None
        return Explainer(self.scorer_, self.gallery_, self.require_extractor().backbone, self.canvas_)

    def _fit_adapted(
        self,
        images: Sequence[ImageSource],
        validation: Sequence[ImageSource],
        settings: AdaptedPreset,
        folder: Path,
        track: Tracker,
        checkpoint: Path | None,
    ) -> None:
        """Learn, by an adapter trained on them where there is one, images that do not calibrate."""
        learned, held_out = images, validation
        if not validation:
            learned, held_out = hold_out(images, settings.calibration.holdout, self.seed)
        if settings.lora.enabled:
            check_trainable(settings, self.require_extractor().backbone)  # before the backbone runs
            self._adapt_and_learn(learned, settings, folder, track, checkpoint)
        else:
            self._learn(learned, 1, track, "learning")
        self._require_learned(learned)
        self.calibrate(held_out, track)

    def _adapt_and_learn(
        self,
        images: Sequence[ImageSource],
        settings: AdaptedPreset,
        folder: Path,
        track: Tracker,
        checkpoint: Path | None,
    ) -> None:
        """Keep the features of all images, train an adapter on them, and learn them adapted."""
        extractor = self.require_extractor()
        store = FeatureStore(folder / "good", torch.float16)
        readable: list[ImageSource] = []
        for batch in self._batches(images, track, "features"):
            self._note_broken(batch)
            if batch.features is None:
                continue
            store.append(with_token(batch.features))
            readable += [source for place, source in enumerate(batch.sources) if place not in batch.broken]
            self.learned_.update(image.key for image in batch.images)
            self._note_brightness(batch)
        self._require_learned(images)
        good = GoodImages(self.canvas_, settings.image, readable)
        adapter, self.adaptation_ = adapt(
            store, good, extractor, self.category_, settings, self.seed, track, checkpoint
        )
        self._use(adapter)
        if self._in_encoder is not None:  # the network is another now
            self.learned_ = Counter()
            self._learn(readable, 1, track, "learning")
            return
        starts = range(0, len(store), extractor.batch)
        for start in track(starts, len(starts), "learning"):
            rows = range(start, min(start + extractor.batch, len(store)))
            self.scorer_.learn(store.take(rows, extractor.backbone.device))

    def _use(
        self, adapter: Adapter | InEncoderAdapter | None, tensors: dict[str, Tensor] | None = None
    ) -> None:
        """Score by features as ``adapter`` leaves them, from nothing or from a stored model's sums."""
        backbone = self.require_extractor().backbone
        if isinstance(adapter, InEncoderAdapter):
            self._in_encoder, adapter = adapter, None
        self.scorer_ = AdaptedScorer(backbone.channels, backbone.device, adapter, tensors)

    def _require_learned(self, images: Sequence[ImageSource]) -> None:
        if not self.learned_:
            raise InputError(f"none of the {len(images)} images could be read; the first: {self.skipped_[0]}")

    def _calibration(self, opinions: Array, peaks: Array, cells: Array) -> Calibration:
        rates = self.settings.calibration
        return Calibration(
            opinions, peaks, cells, self.scorer_.weights, rates.false_alarm_rate, rates.pixel_rate
        )

    def identity(self) -> dict[str, Any]:
        """What two models must have in common for their sums to add up."""
        extractor = self.require_extractor()
        return model_identity(extractor, self.settings.image, self.scorer_, self._in_encoder)

    def require_extractor(self) -> Extractor:
        """The path from files to features. Raises InputError before anything is learned."""
        if self._extractor is None:
            raise InputError("this detector has learned nothing yet; call fit, or load a model")
        return self._extractor

    def _learn(self, images: Sequence[ImageSource], sign: int, track: Tracker, description: str) -> None:
        names = source_names(images)
        share = self.settings.gaussian.relit_share if isinstance(self.settings, GaussianPreset) else 0
        for batch in self._batches(images, track, description, share):
            self._learn_batch(batch, sign, names)

    def _learn_batch(self, batch: Extracted, sign: int, names: Sequence[str]) -> None:
        self._note_broken(batch)
        if batch.features is None:
            return
        self.scorer_.learn(batch.features, sign)
        if batch.relit is not None:
            assert isinstance(self.scorer_, PositionalScorer)
            self.scorer_.learn_relit(batch.features.rows(batch.relit_rows), batch.relit, sign)
        if sign > 0:
            self.gallery_ = self.gallery_.learn(batch, names)
            self._note_brightness(batch)
        for image in batch.images:
            self.learned_[image.key] += sign

    def _batches(
        self, images: Sequence[ImageSource], track: Tracker, description: str, relit_share: float = 0
    ) -> Iterable[Extracted]:
        extractor = self.require_extractor()
        return track(
            extractor.extract(images, relit_share), math.ceil(len(images) / extractor.batch), description
        )

    def _note_brightness(self, batch: Extracted) -> None:
        self.brightest_ = max(self.brightest_, *(int(image.pixels.max()) for image in batch.images))

    def _note_broken(self, batch: Extracted) -> None:
        self.skipped_ += [str(error) for error in batch.broken.values()]
