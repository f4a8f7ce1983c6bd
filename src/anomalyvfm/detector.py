"""The facade: learn from good images, judge new ones, keep the model. A pipeline does the work."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from anomalyvfm.adapted.pipeline import AdaptedPipeline
from anomalyvfm.calibrating import (
    calibration_of,
    calibration_tensors,
    described_scores,
    oddest_of,
    require_enough,
    stored_calibration,
    stored_scores,
)
from anomalyvfm.data import Category, ImageError, InputFrame, open_dataset
from anomalyvfm.data.defects import Defect, check_masks
from anomalyvfm.data.roi import Roi
from anomalyvfm.data.sources import readable_sizes
from anomalyvfm.data.stores import is_address
from anomalyvfm.decision.calibration import Calibration, GoodScores
from anomalyvfm.decision.drift import DriftTest
from anomalyvfm.decision.verdict import Verdict, whole
from anomalyvfm.errors import InputError
from anomalyvfm.features import backbones
from anomalyvfm.features.backbones.backbone import Backbone
from anomalyvfm.features.extractor import ImageSource, frame_for, several
from anomalyvfm.judging import verdicts_of
from anomalyvfm.model_folder import (
    read_calibration,
    read_description,
    read_tensors,
    write_calibration,
    write_model,
)
from anomalyvfm.pipeline import Engine, Good, Pipeline, Stored
from anomalyvfm.presets import AdaptedPreset, GaussianPreset, Preset, preset, stored_preset
from anomalyvfm.ranking.setting_aside import without_odd
from anomalyvfm.statistical.pipeline import StatisticalPipeline
from anomalyvfm.tracking import Tracker, untracked
from anomalyvfm.version import __version__

PIPELINES: Mapping[type[Preset], Callable[..., Pipeline]] = {
    GaussianPreset: StatisticalPipeline,
    AdaptedPreset: AdaptedPipeline,
}
"""Which pipeline a preset's settings are of."""


class Detector:
    """Visual anomaly detector: ``fit`` on good images, then ``predict``.

    Parameters
    ----------
    settings : str or Preset
        Name of a preset, or one of your own.
    overrides : mapping
        Dotted settings, e.g. ``{"backbone": "efficientnet-lite0", "image.size": 256}``.
    device : {"auto", "cpu", "cuda", "mps", "openvino"}
    seed : int
        Of every random choice: the images held out for calibration, synthetic defects, training.
    backbone : Backbone, optional
        The one that settings name, where it is loaded already.

    Attributes
    ----------
    pipeline_ : Pipeline
        What has been learned: ``learned`` (how often each image was), ``skipped`` (messages about images that
        could not be read), ``gallery`` (images to show beside odd ones).
    calibration_ : Calibration
        Scores of good images, and the thresholds that follow.
    frame_ : InputFrame
        The size in pixels into which every image is put.
    category_ : str or None
        Of the data set it was fitted on.
    roi_ : Roi or None
        The region of interest outside which nothing counts.
    oddest_ : list of (str, float)
        Names and scores of the oddest images that calibrated, each scored by a model without it.
    set_aside_ : list of (str, float)
        Names and scores of the images that were too odd to be learned, where nobody had looked at them.
    fit_seconds_ : float
        Seconds that ``fit`` took.

    Examples
    --------
    >>> detector = Detector("v2").fit("good_parts/")
    >>> detector.predict("new_part.png")[0].anomalous
    False
    """

    category_: str | None
    frame_: InputFrame
    calibration_: Calibration
    oddest_: list[tuple[str, float]]
    set_aside_: list[tuple[str, float]]
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
        self._pipeline: Pipeline | None = None
        self.roi_: Roi | None = None

    def fit(
        self,
        images: str | Path | Category | Sequence[ImageSource],
        validation: Sequence[ImageSource] = (),
        track: Tracker = untracked,
        checkpoint: Path | None = None,
        odd_share: float = 0.0,
        defects: Sequence[Defect] = (),
        roi: Roi | None = None,
        engine: Engine | None = None,
    ) -> Detector:
        """Learn from good images; those that cannot be read are left out and named in ``pipeline_.skipped``.

        Parameters
        ----------
        images : path, Category or sequence of images
            A folder, its address in a store, a data set's category, or files, bytes, arrays (H, W, 3) uint8,
            tensors or PIL images.
        validation : sequence of images
            Good ones that calibrate, by default the category's own. Where they are too few for the promise,
            v2 also judges each learned image by what the others have taught, and v1.1 to v1.4 hold out
            ``calibration.holdout`` if there are none.
        track : Tracker
            Wraps batches to show progress.
        checkpoint : Path, optional
            Where training, if the preset has any, keeps its state and goes on from.
        odd_share : float
            Of images that nobody has looked at, so many, the most unlike the others, are set aside first.
        defects : sequence of Defect
            Images in which a person has confirmed a defect; v2 finds more like them.
        roi : Roi, optional
            The region of interest: v2 neither learns nor judges what lies outside.
        engine : Engine, optional
            Where images are learned, if not here: `cluster.fitting.ClusterFit`.

        Returns
        -------
        self

        Raises
        ------
        InputError
            For fewer than two usable images, or settings that this machine or backbone cannot do.
        """
        if isinstance(images, str | Path) and not is_address(images):
            images = open_dataset(Path(images), seed=self.seed)
        self.category_ = images.name if isinstance(images, Category) else None
        if isinstance(images, Category):
            validation = validation or [sample.path for sample in images.validation]
            images = [sample.path for sample in images.train]
        started = time.perf_counter()
        good = Good(list(several(images)), list(several(validation)), self.category_, defects)
        if defects and not isinstance(self.settings, GaussianPreset):
            raise InputError("confirmed defects: this preset learns from good images alone; v2 takes both")
        if roi is not None:
            if not isinstance(self.settings, GaussianPreset):
                raise InputError("a region of interest: this preset judges whole images; v2 takes one")
            roi.require_fit(readable_sizes([*good.images, *good.validation], self.settings.image))
        self.roi_ = roi
        check_masks(defects, self.settings.image)
        self.set_aside_ = []
        if odd_share:
            good, self.set_aside_ = without_odd(
                good, odd_share, self.settings, self.device, self.seed, track, roi
            )
        require_enough(good.images, good.validation, self.settings.calibration.groups)
        if self._pipeline is not None and self._pipeline.changes_backbone:
            self._backbone = None
        backbone = self._load_backbone()
        self._begin(backbone, frame_for(good.images, self.settings.image, backbone))
        with tempfile.TemporaryDirectory(prefix="anomalyvfm-") as folder:
            scores = (
                self.pipeline_.fit(good, Path(folder), track, checkpoint)
                if engine is None
                else engine.fit(self.pipeline_, good, Path(folder), track)
            )
        self._set_calibration(scores, len(good.images) + len(good.validation))
        if defects:
            self.confirm(defects, track)
            self.oddest_ = oddest_of(scores.names, self.calibration_)
        self.fit_seconds_ = time.perf_counter() - started
        return self

    def calibrate(self, images: ImageSource | Sequence[ImageSource], track: Tracker = untracked) -> Detector:
        """Set scores, p-values and thresholds from good images the model has not learned."""
        images = several(images)
        scores = GoodScores()
        self.pipeline_.score(images, scores, track)
        self._set_calibration(scores, len(images))
        return self

    def update(
        self,
        images: ImageSource | Sequence[ImageSource],
        track: Tracker = untracked,
        names: Sequence[str] | None = None,
    ) -> Detector:
        """Learn more good images; the model is then the one fitted on all of them.

        ``names`` are what the gallery calls them, by default their files. The calibration stays as it is:
        good images score lower, on average, the more of them are learned, so it errs on the side of fewer
        alarms. :meth:`calibrate` renews it. Only how like confirmed defects good images are is told anew.
        """
        self.pipeline_.learn(several(images), track, names)
        self.calibration_ = self.pipeline_.with_defects(self.calibration_)
        return self

    def forget(self, images: ImageSource | Sequence[ImageSource], track: Tracker = untracked) -> Detector:
        """Take back images that should not have been learned; the model is then as if they never were.

        Raises NotLearnedError, and changes nothing, where an image was not learned; InputError where none
        would remain.
        """
        self.pipeline_.forget(several(images), track)
        self.calibration_ = self.pipeline_.with_defects(self.calibration_)
        return self

    def confirm(
        self, defects: Sequence[Defect], track: Tracker = untracked, names: Sequence[str] | None = None
    ) -> Detector:
        """Learn from images in which a person has confirmed a defect; v2 finds more like them.

        The calibration is made anew, so that the promise holds. Raises InputError, and changes nothing, for a
        mask that does not fit its image, or an image that was learned as a good one. ``names`` are what the
        model lists them by, by default their files.
        """
        check_masks(defects, self.settings.image)
        self.calibration_ = self.pipeline_.confirm(defects, self.calibration_, track, names)
        return self

    def take_back(self, images: ImageSource | Sequence[ImageSource]) -> Detector:
        """Take back defects that should not have been confirmed; the model is then as if they never were.

        Raises NotLearnedError, and changes nothing, where one was not confirmed.
        """
        self.pipeline_.take_back(several(images))
        self.calibration_ = self.pipeline_.with_defects(self.calibration_)
        return self

    def merge(self, other: Detector) -> Detector:
        """Add what another detector with the same settings has learned; the calibrations are joined too.

        Raises InputError, and changes nothing, where settings, backbone or frame differ.
        """
        mine, theirs = self.identity(), other.identity()
        theirs["backbone"]["name"] = mine["backbone"]["name"]  # equal weights may lie elsewhere
        differing = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
        if differing:
            remedy = "; fit both with the same settings"
            if "choice" in differing:  # made from what each has learned, unless it is set
                remedy += ", gaussian.window and gaussian.experts set too"
            raise InputError(f"models do not merge: their {', '.join(differing)} differ{remedy}")
        self.pipeline_.merge(other.pipeline_)
        self.calibration_ = self.pipeline_.with_defects(self.calibration_.merge(other.calibration_))
        return self

    def outlying(self) -> list[tuple[str, float]]:
        """Names and scores of those of ``oddest_`` that are no tail of the others, the oddest first."""
        return [(name, score) for name, score in self.oddest_ if score > self.calibration_.outlying]

    def predict(self, images: ImageSource | Sequence[ImageSource]) -> list[Verdict]:
        """Judge images: files, bytes, arrays, tensors or PIL images, one or many, or a folder.

        Returns
        -------
        list of Verdict
            In the order of the images.

        Raises
        ------
        ImageError
            At the first that cannot be read.
        """
        return whole(self.judge(several(images)))

    def judge(
        self, images: Iterable[ImageSource], keep_pixels: bool = False
    ) -> Iterator[tuple[ImageSource, Verdict | ImageError]]:
        """Verdicts as they come, in order, in constant memory; an unreadable image gives its error.

        ``keep_pixels`` leaves each image, as it lies in the frame, in its verdict.
        """
        self.prepare()  # now, so that the first image's time is its own
        scorer, explainer = self.pipeline_.scorer, self.pipeline_.explainer()
        least = self.settings.regions.min_level, self.settings.regions.min_area
        for batch in self.pipeline_.extractor.extract(images):
            verdicts = verdicts_of(
                batch, scorer, self.calibration_, self.frame_, explainer, keep_pixels, self.roi_, least
            )
            for position, source in enumerate(batch.sources):
                yield source, batch.broken.get(position) or next(verdicts)

    @property
    def runs_on(self) -> str:
        """The device that another machine must be asked for, to judge the same to the last bits."""
        return self.pipeline_.extractor.backbone.runs_on

    @property
    def together(self) -> int:
        """How many images it judges at once, where there are so many."""
        return self.pipeline_.extractor.batch

    def prepare(self) -> None:
        """Derive from what has been learned all that judging needs, where it is not derived yet."""
        self.pipeline_.scorer.derive()

    def drift_test(self, images_between_false_alarms: float, seed: int = 0) -> DriftTest:
        """A running test whether good images still score as those that calibrated."""
        calibration = self.calibration_
        return DriftTest(
            calibration.scores,
            calibration.threshold,
            images_between_false_alarms,
            seed,
            calibration.cross_fitted,
        )

    def clone(self) -> Detector:
        """A copy that may learn, forget and calibrate while this one judges; they share the backbone."""
        other = copy.copy(self)
        other._pipeline = self.pipeline_.clone()
        return other

    def with_false_alarm_rate(self, rate: float) -> Detector:
        """This detector with the thresholds of another rate; what it has learned is shared, not copied."""
        other = copy.copy(self)
        other.calibration_ = replace(self.calibration_, false_alarm_rate=rate)
        other.settings = self.settings.override({"calibration.false_alarm_rate": rate})
        return other

    def with_calibration(self, calibration: Calibration) -> Detector:
        """This detector calibrated as another was, at its own rate, with the defects that it knows itself."""
        other = self.clone()
        rate = self.calibration_.false_alarm_rate
        other.calibration_ = other.pipeline_.with_defects(replace(calibration, false_alarm_rate=rate))
        return other

    def save_calibration(self, folder: str | Path) -> None:
        """Write the calibration alone to a new folder, whole or not at all."""
        description = {"calibration": self.calibration_.describe()}
        write_calibration(Path(folder), description, calibration_tensors(self.calibration_))

    def with_saved_calibration(self, folder: str | Path) -> Detector:
        """This detector with a calibration that `save_calibration` wrote, and its rate.

        Raises InputError where the folder holds none that is whole.
        """
        body, tensors = read_calibration(Path(folder))
        other = self.with_false_alarm_rate(body["calibration"]["false_alarm_rate"])
        other._load_calibration(body["calibration"], tensors)
        return other.with_calibration(other.calibration_)

    def describe(self) -> dict[str, Any]:
        """What ``model.json`` says of the model."""
        pipeline = self.pipeline_
        return {
            "anomalyvfm_version": __version__,
            "settings": self.settings.model_dump(mode="json"),
            "seed": self.seed,
            **self.identity(),
            "calibration": self.calibration_.describe(),
            **pipeline.describe(),
            "fitted_on": {
                "category": self.category_,
                "images": pipeline.learned.total(),
                "skipped": len(pipeline.skipped),
                "different": len(pipeline.learned),
                "shown": len(pipeline.gallery),
                "brightest": pipeline.brightest,
                "oddest": described_scores(self.oddest_),
                "set_aside": described_scores(self.set_aside_),
                "seconds": self.fit_seconds_,
            },
        }

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write ``model.json`` and ``model.safetensors`` to a new folder, whole or not at all."""
        tensors = {**self.pipeline_.to_tensors(), **calibration_tensors(self.calibration_)}
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

        Parameters
        ----------
        folder : path
        backbone : str, optional
            Where the weights are, if they have moved since.
        device : {"auto", "cpu", "cuda", "mps", "openvino"}
        reading : mapping, optional
            Which of ``image.max_pixels``, ``image.white_level``, ``regions.min_level`` and
            ``regions.min_area`` are others now.

        Raises
        ------
        InputError
            Where the folder is no whole model, or the weights are not those it was fitted with.
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
        stored = Stored(description, read_tensors(folder, description))
        self.roi_ = Roi.stored(description["roi"]) if "roi" in description else None
        self._begin(loaded, InputFrame(**description["input_frame"]), stored)
        fitted_on = description["fitted_on"]
        self._load_calibration(description["calibration"], stored.tensors)
        self.oddest_ = stored_scores(fitted_on.get("oddest", ()))
        self.set_aside_ = stored_scores(fitted_on.get("set_aside", ()))
        self.fit_seconds_ = fitted_on["seconds"]
        self.category_ = fitted_on["category"]
        return self

    @property
    def pipeline_(self) -> Pipeline:
        """What has been learned. Raises InputError before anything is."""
        if self._pipeline is None:
            raise InputError("this detector has learned nothing yet; call fit, or load a model")
        return self._pipeline

    def identity(self) -> dict[str, Any]:
        """What two models must have in common for their sums to add up."""
        roi = {} if self.roi_ is None else {"roi": self.roi_.describe()}
        return {**self.pipeline_.identity(), **roi}

    def _load_backbone(self, layers: tuple[int, ...] | None = None) -> Backbone:
        if self._backbone is None:
            wanted = layers or self.settings.features.layers
            self._backbone = backbones.load(
                self.settings.backbone, layers=wanted, device=self.device, detail=self.settings.detail
            )
        return self._backbone

    def _begin(self, backbone: Backbone, frame: InputFrame, stored: Stored | None = None) -> None:
        """A pipeline that has learned nothing, or what is stored."""
        self.frame_ = frame
        given = (self.settings, backbone, frame, self.seed, stored)
        region = () if self.roi_ is None else (self.roi_,)
        self._pipeline = PIPELINES[type(self.settings)](*given, *region)

    def _set_calibration(self, scores: GoodScores, images: int) -> None:
        alternatives = self.pipeline_.scorer.alternatives
        found = calibration_of(scores, images, self.settings.calibration, alternatives)
        self.calibration_ = self.pipeline_.with_defects(found)
        self.oddest_ = oddest_of(scores.names, self.calibration_)

    def _load_calibration(self, described: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        alternatives = self.pipeline_.scorer.alternatives
        self.calibration_ = stored_calibration(described, tensors, self.settings.calibration, alternatives)
