"""The pipelines of v1.1 to v1.4: an adapter is trained, and images that are not learned calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anomalyvfm.adapted.adaptation import Adaptation, GoodImages, adapt, hold_out, stored_adapter
from anomalyvfm.adapted.adapters import Adapter, digest, to_tensors
from anomalyvfm.adapted.in_encoder import InEncoderAdapter
from anomalyvfm.adapted.plans import check_trainable, scales_of
from anomalyvfm.adapted.scorer import AdaptedScorer, with_token
from anomalyvfm.data import ImageSource, InputFrame
from anomalyvfm.decision.calibration import GoodScores
from anomalyvfm.explain.gallery import Gallery
from anomalyvfm.features.backbones.backbone import Backbone
from anomalyvfm.features.extractor import Extractor
from anomalyvfm.features.grid import PatchGrid
from anomalyvfm.features.store import FeatureStore
from anomalyvfm.pipeline import Good, Pipeline, Stored
from anomalyvfm.presets import AdaptedPreset
from anomalyvfm.tracking import Tracker


class AdaptedPipeline(Pipeline):
    """One Gaussian for features of unit length, as an adapter leaves them where one is trained."""

    scorer: AdaptedScorer

    def __init__(
        self,
        settings: AdaptedPreset,
        backbone: Backbone,
        frame: InputFrame,
        seed: int,
        stored: Stored | None,
    ) -> None:
        scales = scales_of(settings.name)
        extractor = Extractor(backbone, frame, settings.image, settings.batch, scales, stacked=True)
        grid = PatchGrid(*extractor.grid_shape, backbone.channels, step=1, dimensions=backbone.channels)
        super().__init__(extractor, Gallery(0, grid), stored)
        self.grouped_by = settings.calibration.groups
        self._settings = settings
        self._seed = seed
        self._in_encoder: InEncoderAdapter | None = None
        self.adaptation: Adaptation | None = None
        adapter, tensors = None, None
        if stored is not None:
            tensors = stored.tensors
            if (trained := stored.description["adaptation"]) is not None:
                self.adaptation = Adaptation(**trained)
                adapter = stored_adapter(settings, self.adaptation, backbone, tensors, seed)
        self._use(adapter, tensors)

    def fit(self, good: Good, folder: Path, track: Tracker, checkpoint: Path | None) -> GoodScores:
        """Learn, by an adapter trained on them where there is one, images that do not calibrate."""
        learned, held_out = good.images, good.validation
        if not held_out:
            learned, held_out = hold_out(learned, self._settings.calibration.holdout, self._seed)
        if self._settings.lora.enabled:
            check_trainable(self._settings, self.extractor.backbone)  # before the backbone runs
            self._adapt_and_learn(learned, good.category, folder, track, checkpoint)
        else:
            self.learn(learned, track)
        self._require_learned(learned)
        scores = GoodScores()
        self.score(held_out, scores, track)
        return scores

    def describe(self) -> dict[str, Any]:
        return {"adaptation": None if self.adaptation is None else asdict(self.adaptation)}

    def identity(self) -> dict[str, Any]:
        return {
            **super().identity(),
            "encoder": None if self._in_encoder is None else digest(self._in_encoder),
        }

    def to_tensors(self) -> dict[str, Tensor]:
        encoder = {} if self._in_encoder is None else to_tensors(self._in_encoder, "encoder")
        return {**super().to_tensors(), **encoder}

    @property
    def changes_backbone(self) -> bool:
        return self._in_encoder is not None

    def _adapt_and_learn(
        self,
        images: Sequence[ImageSource],
        category: str | None,
        folder: Path,
        track: Tracker,
        checkpoint: Path | None,
    ) -> None:
        """Keep the features of all images, train an adapter on them, and learn them adapted."""
        extractor, settings = self.extractor, self._settings
        store = FeatureStore(folder / "good", torch.float16)
        readable: list[ImageSource] = []
        for batch in self._batches(images, track, "features"):
            self._note_broken(batch)
            if batch.features is None:
                continue
            store.append(with_token(batch.features))
            readable += [source for place, source in enumerate(batch.sources) if place not in batch.broken]
            self.learned.update(image.key for image in batch.images)
            self._note_brightness(batch)
        self._require_learned(images)
        good = GoodImages(extractor.frame, settings.image, readable)
        adapter, self.adaptation = adapt(
            store, good, extractor, category, settings, self._seed, track, checkpoint
        )
        self._use(adapter)
        if self.changes_backbone:  # what was kept is another network's
            self.learned.clear()
            self.learn(readable, track)
            return
        starts = range(0, len(store), extractor.batch)
        for start in track(starts, len(starts), "learning"):
            rows = range(start, min(start + extractor.batch, len(store)))
            self.scorer.learn(store.take(rows, extractor.backbone.device))

    def _use(
        self, adapter: Adapter | InEncoderAdapter | None, tensors: dict[str, Tensor] | None = None
    ) -> None:
        """Score by features as ``adapter`` leaves them, from nothing or from a stored model's sums."""
        backbone = self.extractor.backbone
        if isinstance(adapter, InEncoderAdapter):
            self._in_encoder, adapter = adapter, None
        self.scorer = AdaptedScorer(backbone.channels, backbone.device, adapter, tensors)
