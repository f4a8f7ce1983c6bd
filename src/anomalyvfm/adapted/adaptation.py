"""From good images to an adapter: defects made of them, the features of both, and the training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anomalyvfm.adapted.adapters import Adapter, Form, build, load_tensors
from anomalyvfm.adapted.in_encoder import InEncoderAdapter
from anomalyvfm.adapted.plans import Plan, check_trainable, orders_for, plan_for
from anomalyvfm.adapted.scorer import with_token
from anomalyvfm.adapted.training.loop import TrainingData, train
from anomalyvfm.adapted.training.losses import Head
from anomalyvfm.data import ImageSource, InputFrame, read_source
from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import Backbone
from anomalyvfm.features.extractor import Extractor
from anomalyvfm.features.store import FeatureStore, mapped_rows
from anomalyvfm.presets import AdaptedPreset, ImageSettings
from anomalyvfm.synthesis import STAGES, Group, Order, group_of, synthesize
from anomalyvfm.synthesis.patch import Image8, Mask
from anomalyvfm.tracking import Tracker

# Texture is a property of the product: a few of its images show it.
_GROUPED_BY = 16


@dataclass(frozen=True)
class Adaptation:
    """What was trained, on what, and how it went: plain data, kept in the model."""

    group: Group
    form: Form
    rank: int
    alpha: float
    epochs: int
    normal: int
    synthetic: dict[str, int]
    losses: list[float]
    """Mean loss of each epoch."""
    seconds: float
    """Of the training alone, without features."""


def hold_out(
    images: Sequence[ImageSource], share: float, seed: int
) -> tuple[list[ImageSource], list[ImageSource]]:
    """Images to learn from and images to calibrate with, chosen by the seed, each in its first order."""
    held_out = min(max(1, round(share * len(images))), len(images) - 1)
    chosen = set(np.random.default_rng(seed).permutation(len(images))[: max(held_out, 0)].tolist())
    return (
        [image for i, image in enumerate(images) if i not in chosen],
        [image for i, image in enumerate(images) if i in chosen],
    )


class GoodImages:
    """Good images in the model's frame by number, read when asked."""

    def __init__(self, frame: InputFrame, settings: ImageSettings, sources: Sequence[ImageSource]) -> None:
        self._frame = frame
        self._settings = settings
        self._sources = sources

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: int) -> Image8:
        return self._frame.place(read_source(self._sources[index], self._settings))


def group_for(category: str | None, images: GoodImages, summaries: Tensor) -> Group:
    """The category's group, by its name or from its good images and their (N, D) or (N, S, D) summaries."""
    some = range(0, len(images), max(1, len(images) // _GROUPED_BY))
    finest = summaries if summaries.ndim == 2 else summaries[:, -1]
    return group_of(category or "", (images[index] for index in some), finest.numpy())


def new_adapter(
    settings: AdaptedPreset, plan: Plan, backbone: Backbone, seed: int
) -> Adapter | InEncoderAdapter:
    """An untrained adapter of features, or of the backbone, which it then changes in place.

    Raises InputError where the backbone cannot be adapted that way, and for a rank above the features'
    dimensions.
    """
    lora = settings.lora
    if lora.where == "features":
        return build(
            plan.form, backbone.channels, rank=plan.rank, alpha=plan.alpha, dropout=lora.dropout, seed=seed
        )
    return InEncoderAdapter(backbone, plan.rank, plan.alpha, lora.dropout, dora=lora.dora, seed=seed)


def stored_adapter(
    settings: AdaptedPreset, trained: Adaptation, backbone: Backbone, tensors: dict[str, Tensor], seed: int
) -> Adapter | InEncoderAdapter:
    """The adapter that a model was trained with. Raises InputError where its weights are another's."""
    plan = Plan(trained.form, trained.rank, trained.alpha)
    adapter = new_adapter(settings, plan, backbone, seed).to(backbone.device).eval()
    load_tensors(adapter, tensors, "encoder" if isinstance(adapter, InEncoderAdapter) else "adapter")
    return adapter


def adapt(
    good: FeatureStore,
    images: GoodImages,
    extractor: Extractor,
    category: str | None,
    settings: AdaptedPreset,
    seed: int,
    track: Tracker,
    checkpoint: Path | None = None,
) -> tuple[Adapter | InEncoderAdapter, Adaptation]:
    """Train an adapter on the features of good images and of synthetic defects made of them.

    Row i of ``good`` is ``images[i]``. Raises InputError where defects cannot be made of these images, and
    where training cannot be done or go on; what is large lies beside ``good`` on disk.
    """
    check_trainable(settings, extractor.backbone)
    if len(good) < 2:
        raise InputError(
            f"{len(good)} good image{'s' * (len(good) != 1)} to train on, beside those that calibrate;"
            " at least 2 are needed to make synthetic defects from"
        )
    group = group_for(category, images, good.summaries())
    plan = plan_for(settings, group)
    wanted = orders_for(settings, group, seed)
    adapter = new_adapter(settings, plan, extractor.backbone, seed)
    made = (
        _images_and_synthetic(images, wanted, extractor, good.path.parent, settings, seed, track)
        if isinstance(adapter, InEncoderAdapter)
        else _features_and_synthetic(good, images, wanted, extractor, settings, seed, track)
    )
    training = settings.training
    curve = train(
        adapter,
        Head(adapter.width, outputs=2 if training.loss == "confidence-map" else 1, seed=seed),
        made,
        training.model_copy(update={"epochs": plan.epochs}),
        seed=seed,
        device=str(extractor.backbone.device),
        checkpoint=checkpoint,
        track=track,
    )
    counts = Counter(order.stage for order in wanted)
    return adapter, Adaptation(
        group,
        plan.form,
        plan.rank,
        plan.alpha,
        plan.epochs,
        len(made.normal),
        {stage: counts[stage] for stage in STAGES},
        curve.epochs,
        curve.seconds,
    )


def _features_and_synthetic(
    good: FeatureStore,
    images: GoodImages,
    wanted: Sequence[Order],
    extractor: Extractor,
    settings: AdaptedPreset,
    seed: int,
    track: Tracker,
) -> TrainingData:
    """Summaries, or all patches and which of the synthetic ones are defective, from one backbone pass."""
    masks: list[Mask] = []

    def defective() -> Iterator[Image8]:
        for synthetic in synthesize(images, wanted, seed, settings.synthesis.severity):
            masks.append(synthetic.mask)
            yield synthetic.image

    store = FeatureStore(good.path.parent / "synthetic", torch.float16)
    for batch in track(
        extractor.extract(defective()), -(-len(wanted) // extractor.batch), "synthetic defects"
    ):
        assert batch.features is not None  # arrays are always readable
        store.append(with_token(batch.features))
    if settings.training.rows == "summary":
        return TrainingData(good.summaries(), store.summaries())
    return TrainingData(good.patches(), store.patches(), _on_grid(masks, extractor.grid_shape))


def _images_and_synthetic(
    images: GoodImages,
    wanted: Sequence[Order],
    extractor: Extractor,
    folder: Path,
    settings: AdaptedPreset,
    seed: int,
    track: Tracker,
) -> TrainingData:
    """The images themselves, on disk: with LoRA inside the encoder every step runs the backbone."""

    def seen(image: Image8) -> Tensor:
        return torch.from_numpy(extractor.place(image).views[0])

    shape = images[0].shape
    normal = mapped_rows(folder / "normal_images", (len(images), *shape), torch.uint8)
    for index in track(range(len(images)), len(images), "images to train on"):
        normal[index] = seen(images[index])
    synthetic = mapped_rows(folder / "synthetic_images", (len(wanted), *shape), torch.uint8)
    made = synthesize(images, wanted, seed, settings.synthesis.severity)
    for index, one in enumerate(track(made, len(wanted), "synthetic defects")):
        synthetic[index] = seen(one.image)
    return TrainingData(normal, synthetic)


def _on_grid(masks: Sequence[Mask], grid: tuple[int, int]) -> Tensor:
    """(M, H, W) masks to (M, h, w) patches: 1 where any pixel is defective, or thin lines would vanish."""
    pooled = [F.adaptive_max_pool2d(torch.from_numpy(mask)[None].float(), grid)[0] for mask in masks]
    return torch.stack(pooled)
