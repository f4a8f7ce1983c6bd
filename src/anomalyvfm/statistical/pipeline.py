"""The pipeline of v2: all good images are learned, and those that calibrate are judged without themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anomalyvfm.data import ImageError, InputFrame
from anomalyvfm.data.defects import Defect
from anomalyvfm.data.near_copies import NearCopies
from anomalyvfm.data.parallel import read_many
from anomalyvfm.data.roi import Roi
from anomalyvfm.decision.calibration import Calibration, GoodScores, images_needed
from anomalyvfm.errors import InputError, NotLearnedError
from anomalyvfm.explain.explainer import Explainer
from anomalyvfm.explain.gallery import Gallery
from anomalyvfm.features.backbones.backbone import Backbone, PatchFeatures
from anomalyvfm.features.extractor import Extracted, Extractor, ImageSource, describe, source_names
from anomalyvfm.features.grid import PatchGrid
from anomalyvfm.pipeline import Good, Pipeline, Stored, under
from anomalyvfm.presets import GaussianPreset, GaussianSettings
from anomalyvfm.statistical import choosing
from anomalyvfm.statistical.calibrating_likeness import calibrated_with_defects, require_odd
from anomalyvfm.statistical.choice import Choice
from anomalyvfm.statistical.cross_fitting import cross_fit
from anomalyvfm.statistical.kept_images import KeptImages, sampled
from anomalyvfm.statistical.look import Look
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
        roi: Roi | None = None,
    ) -> None:
        self.settings = settings
        self.seed = seed
        tensors = None if stored is None else stored.tensors
        self.light_share = settings.gaussian.light_share
        self.grouped_by = settings.calibration.groups
        gaussian = settings.gaussian
        extractor = Extractor(
            backbone,
            frame,
            settings.image,
            settings.batch,
            gaussian.scales,
            light=gaussian.judge_light,
            roi=roi,
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
            extractor.counting,
        )
        kept = {} if tensors is None else under(tensors, "gallery")
        gallery = Gallery.from_tensors(settings.gallery.images, self.scorer.grid, kept)
        told = {} if stored is None else stored.description.get("defects", {})
        # Names of images of defects, by key.
        self._defects = dict(zip(sorted(self.scorer.defects.images), told.get("images", ()), strict=True))
        self.near_copies: list[tuple[str, str]] = [
            (defect, good) for defect, good in told.get("near_copies", ())
        ]
        """Names of images of defects, and of the good image that shows nearly the same as each."""
        super().__init__(extractor, gallery, stored)

    def fit(self, good: Good, folder: Path, track: Tracker, checkpoint: Path | None) -> GoodScores:
        """Learn all images; calibrate with the validation's, and with those learned where it has too few."""
        kept = self.kept_positions(good)
        look = self.look(folder / "features", good.defects, kept, kept[: choosing.IMAGES])
        self.look_at(good.images, source_names(good.images), look, track)
        return self.fit_to(look, good, folder, track)

    def kept_positions(self, good: Good) -> list[int]:
        """Of which of the images the features are kept, to judge them again, in the order they are drawn in.

        Learned images calibrate where the held-out ones are too few, not where only their groups are: those
        are like the images to come, and learned ones judged without their group are odder (docs/trials.md).
        """
        most = self.settings.calibration.images if self._calibrates_by_learned(good) else 0
        return sampled(len(good.images), most, self.seed)

    def _calibrates_by_learned(self, good: Good) -> bool:
        return len(good.validation) < images_needed(self.settings.calibration.false_alarm_rate)

    def look(self, path: Path, defects: Sequence[Defect], kept: Sequence[int], shown: Sequence[int]) -> Look:
        """A look at good images, before the first.

        Those at the positions ``kept`` are to be judged again: their features lie in files that begin with
        ``path``. Those that are ``shown``, too, tell what to choose.
        """
        return Look(KeptImages(path, kept, shown, self.grouped_by), *self._near_of(defects))

    def look_at(
        self, images: Sequence[ImageSource], names: Sequence[str], look: Look, track: Tracker
    ) -> None:
        """Learn good images, and note in ``look`` what is asked of them once all are learned."""
        for batch in self._batches(images, track, "learning", self.light_share):
            self._learn_batch(batch, names, 1)
            look.add(batch, names)

    def fit_to(self, look: Look, good: Good, folder: Path, track: Tracker) -> GoodScores:
        """Choose, once all is learned, and score the images that calibrate."""
        self.near_copies = look.near_copies()
        self._require_learned(good.images)
        few = self._calibrates_by_learned(good)
        sample = look.kept if few else self._kept_of(good.validation, folder)
        gaussian, learned = self.settings.gaussian, self.learned.total()
        self.scorer.choose(
            choosing.choose(self.scorer, sample, few, learned, self.extractor, gaussian, self.seed, track)
        )
        look.kept.pixels.clear()  # looked at for the choice alone
        scores = GoodScores()
        self.score(good.validation, scores, track)
        needed = images_needed(self.settings.calibration.false_alarm_rate)
        if len(scores) < needed and len(look.kept.keys) > 1:
            cross_fit(self.scorer, look.kept, self.settings.batch, self.seed, scores, track)
        return scores

    def _near_of(self, defects: Sequence[Defect]) -> tuple[list[str], NearCopies]:
        """Names of images of defects that can be read, and what tells which good ones are near copies."""
        images = [defect.image for defect in defects]
        names, near = [], NearCopies()
        for name, (_, image) in zip(
            source_names(images), read_many(images, self.extractor.place), strict=True
        ):
            if not isinstance(image, ImageError):
                names.append(name)
                near.add(image.pixels)
        return names, near

    def confirm(
        self,
        defects: Sequence[Defect],
        calibration: Calibration,
        track: Tracker,
        names: Sequence[str] | None = None,
    ) -> Calibration:
        """Keep what images of defects show, copies of one once; the ``calibration`` made anew with them.

        Raises InputError, and changes nothing, for an image that is among the good ones, too, for a defect
        outside the region of interest, where no image can be read, and where odd patches were not kept.
        """
        require_odd(calibration)
        images = [defect.image for defect in defects]
        names, skipped = source_names(images) if names is None else names, len(self.skipped)
        before, told, read = dict(self.scorer.defects.images), dict(self._defects), 0
        try:
            for batch in self._batches(images, track, "confirming"):
                self._note_broken(batch)
                for row, (image, position) in enumerate(zip(batch.images, batch.positions, strict=True)):
                    if image.key in self.learned:
                        name = describe(images[position])
                        raise InputError(f"{name}: among the good images, too; leave it out of one of both")
                    if batch.features is not None:
                        mask = self._marked(defects[position], image.size)
                        self._confirm_one(image.key, batch.features.rows([row]), mask)
                        told.setdefault(image.key, names[position])
                        read += 1
            if not read:
                raise InputError(f"no image of a defect could be read, such as {self.skipped[skipped]}")
        except InputError:
            self.scorer.defects.images = before
            raise
        self._defects = told
        return self.with_defects(calibration)

    def take_back(self, images: Sequence[ImageSource]) -> None:
        leaving = {key: source for source, key in self.extractor.keys(images)}
        for key, source in leaving.items():
            if key not in self.scorer.defects.images:
                raise NotLearnedError(
                    f"{describe(source)}: not among the confirmed defects; none was taken back"
                )
        for key in leaving:
            self.scorer.defects.forget(key)
        gone = {self._defects[key] for key in leaving}
        self._defects = {key: name for key, name in self._defects.items() if key not in leaving}
        self.near_copies = [pair for pair in self.near_copies if pair[0] not in gone]
        self.scorer.count_defects(None)

    def with_defects(self, calibration: Calibration) -> Calibration:
        return calibrated_with_defects(self.scorer, calibration)

    def _marked(self, defect: Defect, size: tuple[int, int]) -> Tensor | None:
        """(height, width) by how much its mask covers each pixel of the frame, in the region of interest."""
        covered = defect.covered(size, self.extractor.frame)
        if covered is None:
            return None
        if self.extractor.inside is not None:
            covered = covered * self.extractor.inside
            if not covered.any():
                raise InputError(
                    f"{describe(defect.image)}: its defect lies outside the region of interest;"
                    " leave it out, or widen the region"
                )
        return torch.from_numpy(covered).to(self.scorer.device)

    def _confirm_one(self, key: int, features: PatchFeatures, mask: Tensor | None) -> None:
        """Keep what one image shows, as good images do that calibrate."""
        found = self.scorer.distances_of_good(features)
        _, image_scores = found.numpy()
        assert found.odd is not None
        self.scorer.defects.confirm(key, features, mask, self.scorer.patches, image_scores[0], found.odd)

    def _kept_of(self, images: Sequence[ImageSource], folder: Path) -> KeptImages:
        """Some of the images that calibrate, to choose by."""
        few = images[: choosing.IMAGES]
        kept = KeptImages(folder / "choosing", range(len(few)), range(len(few)))
        names = source_names(few)
        for batch in self.extractor.extract(few):
            kept.add(batch, names)
        return kept

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "sizes_seen": [[view.height, view.width] for view in self.extractor.views],
            "choice": self.scorer.choice.as_dict(),
            **self._describe_defects(),
        }

    def _describe_defects(self) -> dict[str, Any]:
        """What is known of confirmed defects; nothing where there are none."""
        if not self.scorer.defects:
            return {}
        return {
            "defects": {
                "images": [name for _, name in sorted(self._defects.items())],
                "log_prior": self.scorer.defects.log_prior,
                "near_copies": [list(pair) for pair in self.near_copies],
            }
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
