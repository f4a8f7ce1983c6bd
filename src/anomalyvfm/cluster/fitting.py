"""A fit on a cluster: workers learn parts, their sums are added up in a tree, and calibrated here."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from anomalyvfm.cluster.learning import AddUp, Learner, LearnPart, Recipe
from anomalyvfm.cluster.part_folders import forget_sums, is_whole, read_learned, take_look
from anomalyvfm.cluster.parts import Node, Part, Tree, parts_of
from anomalyvfm.cluster.progress import Progress
from anomalyvfm.cluster.workers import Cluster, Listen, Show, Workers, connected, unshown
from anomalyvfm.cluster.working_folder import RUN, working
from anomalyvfm.data.freed_memory import give_back
from anomalyvfm.data.sources import ImageSource, describe, source_names
from anomalyvfm.data.stores import StoreImage, is_address
from anomalyvfm.decision.calibration import GoodScores
from anomalyvfm.errors import InputError
from anomalyvfm.pipeline import Good, Pipeline
from anomalyvfm.statistical import choosing
from anomalyvfm.statistical.pipeline import StatisticalPipeline
from anomalyvfm.tracking import Tracker


@dataclass
class ClusterFit:
    """Learns the images of a fit on a cluster.

    What is not yet whole lies in ``folder``, which all machines must see; with ``resume``, parts that a run
    of the same images and settings has left there are taken as they are. ``show`` tells how far the
    workers are, and ``summary`` holds afterwards what became of it.
    """

    cluster: Cluster
    folder: Path
    resume: bool = False
    show: Show = unshown
    summary: dict[str, Any] = field(default_factory=dict)

    def fit(self, pipeline: Pipeline, good: Good, folder: Path, track: Tracker) -> GoodScores:
        """As `Pipeline.fit`, the same to the last bits of its sums. Raises InputError."""
        if not isinstance(pipeline, StatisticalPipeline):
            raise InputError("--engine ray: this preset is trained, on one machine; leave it out, or take v2")
        kept = pipeline.kept_positions(good)
        recipe = recipe_of(pipeline)
        parts = parts_of(len(good.images), pipeline.extractor.batch)
        names = source_names(good.images)
        tree = Tree(len(parts))
        place = self.folder.absolute()
        with working(place, _run(recipe, good, names), self.resume):
            missing = _missing(place, tree)
            tasks = [_task(parts[node.number], good, names, kept) for node in missing if not node.level]
            left = sum(task.count for task in tasks)
            progress = Progress(len(good.images), done=len(good.images) - left)
            if missing:
                learner = Learner(recipe, good.defects, place)
                with self.show() as listen, connected(self.cluster):
                    self._learn(place, tree, missing, tasks, learner, progress, listen)
            started = time.perf_counter()
            look = pipeline.look(folder / "features", good.defects, (), ())
            restore = partial(recipe.pipeline, pipeline.extractor.backbone)
            for node in tree.top:
                pipeline.merge(read_learned(place / node.name, restore))
            give_back()
            merged = time.perf_counter()
            for part in parts:
                take_look(place / Node(0, part.number).name, look, pipeline.grouped_by)
            self.summary = {
                "parts": len(parts),
                **progress.as_dict(),
                "merge_seconds": round(merged - started, 3),
                "gather_seconds": round(time.perf_counter() - merged, 3),
            }
        return pipeline.fit_to(look, good, folder, track)

    def _learn(
        self,
        place: Path,
        tree: Tree,
        missing: Sequence[Node],
        tasks: Sequence[LearnPart],
        learner: Learner,
        progress: Progress,
        listen: Listen,
    ) -> None:
        """Have workers learn parts, and add up what is complete while others learn."""
        probes = [str(place / RUN)]
        probes += [str(image) for task in tasks[:1] for image in task.images[:1] if _is_here(image)]
        gpus = learner.uses_gpu
        lacking = set(missing)
        sums: list[AddUp] = [AddUp(node, tree.below(node)) for node in missing if node.level]
        ready = [task for task in sums if lacking.isdisjoint(task.below)]
        every: list[LearnPart | AddUp] = [*ready, *tasks]
        with closing(Workers(self.cluster, learner, probes, progress, listen, len(missing), gpus)) as workers:
            for task in workers.do(every):
                lacking.discard(task.node)
                if isinstance(task, AddUp):
                    forget_sums([place / node.name for node in task.below])
                above = tree.above(task.node)
                if above is not None and lacking.isdisjoint(tree.below(above)):
                    workers.waiting.appendleft(AddUp(above, tree.below(above)))


def recipe_of(pipeline: StatisticalPipeline) -> Recipe:
    """How it sees images and learns them, for workers."""
    extractor = pipeline.extractor
    backbone = extractor.backbone
    return Recipe(
        pipeline.settings.model_dump(mode="json"),
        tuple(backbone.layers),
        backbone.weight_hash,
        backbone.runs_on,
        asdict(extractor.frame),
        pipeline.seed,
        None if extractor.roi is None else extractor.roi.describe(),
    )


def _task(part: Part, good: Good, names: Sequence[str], kept: Sequence[int]) -> LearnPart:
    def own(positions: Sequence[int]) -> list[int]:
        return [place - part.first for place in positions if part.first <= place < part.end]

    images, own_names = good.images[part.first : part.end], names[part.first : part.end]
    return LearnPart(Node(0, part.number), images, own_names, own(kept), own(kept[: choosing.IMAGES]))


def _is_here(image: ImageSource) -> bool:
    """Whether it is a file that every machine must see, not one in a store or an array."""
    return isinstance(image, str | Path) and not is_address(image)


def _missing(place: Path, tree: Tree) -> list[Node]:
    """Nodes that have not come to their end; parts in order, then those above."""
    return [node for node in tree.nodes() if not is_whole(place / node.name)]


def _run(recipe: Recipe, good: Good, names: Sequence[str]) -> dict[str, Any]:
    """What tells a run from any other whose parts would be others."""
    listed = hashlib.sha256("\n".join([str(len(names)), *names]).encode(errors="surrogateescape"))
    for image in good.images:
        if isinstance(image, str | Path | StoreImage):
            listed.update(describe(image).encode(errors="surrogateescape"))
    defects = [str(defect.image) for defect in good.defects]
    return {
        "recipe": asdict(recipe),
        "images": listed.hexdigest(),
        "validation": len(good.validation),
        "defects": defects,
    }
