"""The pipeline of v2: all good images are learned, and those that calibrate are judged without themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomalyvfm.data import InputFrame
from anomalyvfm.decision.calibration import GoodScores, images_needed
from anomalyvfm.explain.explainer import Explainer
from anomalyvfm.explain.gallery import Gallery
from anomalyvfm.features.backbones.backbone import Backbone
from anomalyvfm.features.extractor import Extracted, Extractor, ImageSource, source_names
from anomalyvfm.features.grid import PatchGrid
from anomalyvfm.pipeline import Good, Pipeline, Stored, under
from anomalyvfm.presets import GaussianPreset, GaussianSettings
from anomalyvfm.statistical import choosing
from anomalyvfm.statistical.choice import Choice
from anomalyvfm.statistical.cross_fitting import KeptImages, cross_fit
from anomalyvfm.statistical.scorer import StatisticalScorer
from anomalyvfm.tracking import Tracker


class StatisticalPipeline(Pipeline):
    """Gaussians of positions at each scale, and one of the image as a whole; reasons by layer and gallery."""

    scorer: StatisticalScorer

    def __init__(
        self,
        settings: GaussianPreset,
        backbone: Backbone,
        frame: InputFrame,
        seed: int,
        stored: Stored | None,
    ) -> None:
        self._settings = settings
        self._seed = seed
        tensors = None if stored is None else stored.tensors
        self.light_share = settings.gaussian.light_share
        self.grouped_by = settings.calibration.groups
        gaussian = settings.gaussian
        extractor = Extractor(
            backbone, frame, settings.image, settings.batch, gaussian.scales, light=gaussian.judge_light
        )
        if stored is None:
            grids, detail_grid = position_grids(extractor, gaussian), _detail_grid(extractor, gaussian)
            every = tuple(range(len(grids)))
            banks = every if backbone.detail_channels == 0 else (*every, len(every))
            choice = Choice(1, every, 0.0, banks=() if gaussian.bank == "never" else banks)
        else:
            described = stored.description
            grids = [PatchGrid(**grid) for grid in (described["grid"], *described["coarser_grids"])]
            detail = described["detail_grid"]
            detail_grid = None if detail is None else PatchGrid(**detail)
            choice = Choice.from_dict(described["choice"])
        self.scorer = StatisticalScorer(
            grids,
            backbone.summary_channels,
            backbone.detail_channels,
            detail_grid,
            gaussian,
            choice,
            backbone.device,
            tensors,
        )
        kept = {} if tensors is None else under(tensors, "gallery")
        gallery = Gallery.from_tensors(settings.gallery.images, self.scorer.grid, kept)
        super().__init__(extractor, gallery, stored)

    def fit(self, good: Good, folder: Path, track: Tracker, checkpoint: Path | None) -> GoodScores:
        """Learn all images; calibrate with the validation's, and with those learned where it has too few."""
        settings = self._settings.calibration
        needed = images_needed(settings.false_alarm_rate)
        # Learned images calibrate where the held-out ones are too few, not where only their groups are: those
        # are like the images to come, and learned ones judged without their group are odder (docs/trials.md).
        few = len(good.validation) < needed
        most = settings.images if few else 0
        kept = KeptImages(
            folder / "features", len(good.images), most, self._seed, choosing.IMAGES, self.grouped_by
        )
        names = source_names(good.images)
        for batch in self._batches(good.images, track, "learning", self.light_share):
            self._learn_batch(batch, names, 1)
            kept.add(batch, names)
        self._require_learned(good.images)
        sample = kept if few else self._kept_of(good.validation, folder)
        gaussian, learned = self._settings.gaussian, self.learned.total()
        self.scorer.choose(
            choosing.choose(self.scorer, sample, few, learned, self.extractor, gaussian, self._seed, track)
        )
        kept.pixels.clear()  # looked at for the choice alone
        scores = GoodScores()
        self.score(good.validation, scores, track)
        if len(scores) < needed and len(kept.keys) > 1:
            cross_fit(self.scorer, kept, self._settings.batch, self._seed, scores, track)
        return scores

    def _kept_of(self, images: Sequence[ImageSource], folder: Path) -> KeptImages:
        """Some of the images that calibrate, to choose by."""
        few = images[: choosing.IMAGES]
        kept = KeptImages(folder / "choosing", len(few), len(few), self._seed, len(few))
        names = source_names(few)
        for batch in self.extractor.extract(few):
            kept.add(batch, names)
        return kept

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "sizes_seen": [[view.height, view.width] for view in self.extractor.views],
            "choice": self.scorer.choice.as_dict(),
        }

    def explainer(self) -> Explainer:
        return Explainer(self.scorer.layer_shares, self.gallery, self.extractor)

    def _learn_batch(self, batch: Extracted, names: Sequence[str], sign: int) -> None:
        super()._learn_batch(batch, names, sign)
        if batch.features is not None:
            self.scorer.remember(batch.features, [image.key for image in batch.images], sign)
        if batch.features is not None and batch.augmented is not None:
            self.scorer.learn_augmented(batch.features.rows(batch.augmented_rows), batch.augmented, sign)


def position_grids(extractor: Extractor, settings: GaussianSettings) -> list[PatchGrid]:
    """Those of the scales, which share the memory there is."""
    share, channels = settings.max_mb / len(settings.scales), extractor.backbone.channels
    context = min(settings.context_dimensions, extractor.backbone.summary_channels)
    return [
        PatchGrid.within(*shape, channels, share, settings.dimensions, context)
        for shape in extractor.grid_shapes
    ]


def _detail_grid(extractor: Extractor, settings: GaussianSettings) -> PatchGrid | None:
    """That of what the backbone sees in detail, twice as fine as its patches; it has few channels."""
    channels = extractor.backbone.detail_channels
    if not channels:
        return None
    height, width = extractor.grid_shape
    return PatchGrid.within(2 * height, 2 * width, channels, settings.max_mb, settings.dimensions)
