"""What a worker does in a fit: learn the images of a part, and add up what parts have learned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from anomalyvfm.cluster.careful import unreadable_left_out
from anomalyvfm.cluster.part_folders import FEATURES, read_learned, write_learned
from anomalyvfm.cluster.parts import Node
from anomalyvfm.cluster.working_folder import write_whole
from anomalyvfm.data import InputFrame
from anomalyvfm.data.defects import Defect
from anomalyvfm.data.freed_memory import give_back
from anomalyvfm.data.roi import Roi
from anomalyvfm.data.sources import ImageSource
from anomalyvfm.errors import InputError
from anomalyvfm.features import backbones
from anomalyvfm.features.backbones.backbone import Backbone
from anomalyvfm.pipeline import Stored
from anomalyvfm.presets import GaussianPreset, stored_preset
from anomalyvfm.statistical.pipeline import StatisticalPipeline

T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """How a pipeline sees images and learns them, as plain data."""

    settings: Mapping[str, Any]
    layers: Sequence[int]
    weight_hash: str
    device: str
    frame: Mapping[str, Any]
    seed: int
    roi: Mapping[str, Any] | None

    def preset(self) -> GaussianPreset:
        settings = stored_preset(self.settings)
        assert isinstance(settings, GaussianPreset)
        return settings

    def load_backbone(self) -> Backbone:
        """Raises InputError where this machine has not the same weights."""
        settings = self.preset()
        loaded = backbones.load(
            settings.backbone, layers=self.layers, device=self.device, detail=settings.detail
        )
        if loaded.weight_hash != self.weight_hash:
            raise InputError(f"{settings.backbone}: other weights than where the fit was started; copy those")
        return loaded

    def pipeline(self, backbone: Backbone, stored: Stored | None = None) -> StatisticalPipeline:
        roi = None if self.roi is None else Roi.stored(self.roi)
        return StatisticalPipeline(self.preset(), backbone, InputFrame(**self.frame), self.seed, stored, roi)


@dataclass(frozen=True)
class LearnPart:
    """The images of a part, with their names; of those at ``kept``, in the part, the features are kept."""

    node: Node
    images: Sequence[ImageSource]
    names: Sequence[str]
    kept: Sequence[int]
    shown: Sequence[int]
    careful: bool = False
    """Look first which images can be read at all, each where it costs no more than itself."""

    @property
    def count(self) -> int:
        return len(self.images)

    def carefully(self) -> LearnPart:
        return replace(self, careful=True)

    def __str__(self) -> str:
        return f"part {self.node.number}"


@dataclass(frozen=True)
class AddUp:
    """Sums of some nodes, in their order."""

    node: Node
    below: Sequence[Node]
    count: int = 0

    def carefully(self) -> AddUp:
        return self

    def __str__(self) -> str:
        return f"the sums of {len(self.below)} parts ({self.node.name})"


class Learner:
    """Learns parts into folders of their own below ``folder``."""

    def __init__(self, recipe: Recipe, defects: Sequence[Defect], folder: Path) -> None:
        self._recipe = recipe
        self._defects = defects
        self._folder = folder
        self._backbone: Backbone | None = None

    def prepare(self) -> None:
        """Load what all parts need. Raises InputError where this machine has it not."""
        self._backbone = self._recipe.load_backbone()

    @property
    def uses_gpu(self) -> bool:
        return self._recipe.device == "cuda"

    def do(self, task: LearnPart | AddUp, seen: Callable[[int], None]) -> None:
        """Leave the result of a task in its folder; ``seen`` is told how many images have gone by."""
        place = self._folder / task.node.name
        if isinstance(task, LearnPart):
            write_whole(place, lambda folder: self._learn(task, folder, seen))
        else:
            write_whole(place, lambda folder: self._add_up(task, folder))
        give_back()

    def restore(self, stored: Stored | None) -> StatisticalPipeline:
        """A pipeline that has learned what is stored, or nothing."""
        assert self._backbone is not None
        return self._recipe.pipeline(self._backbone, stored)

    def _learn(self, task: LearnPart, folder: Path, seen: Callable[[int], None]) -> None:
        pipeline = self.restore(None)
        look = pipeline.look(folder / FEATURES, self._defects, task.kept, task.shown)
        images = task.images
        if task.careful:
            images = unreadable_left_out(images, self._recipe.preset().image)
        batch = pipeline.extractor.batch

        def counted(items: Iterable[T], total: int, description: str) -> Iterator[T]:
            for number, item in enumerate(items, start=1):
                yield item
                seen(min(number * batch, len(images)))

        pipeline.look_at(images, task.names, look, counted)
        write_learned(folder, pipeline, look)

    def _add_up(self, task: AddUp, folder: Path) -> None:
        first, *others = task.below
        pipeline = read_learned(self._folder / first.name, self.restore)
        for node in others:
            pipeline.merge(read_learned(self._folder / node.name, self.restore))
        write_learned(folder, pipeline, None)
