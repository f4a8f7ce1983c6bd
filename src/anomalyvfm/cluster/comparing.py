"""A comparison on a cluster: its runs are shared out, and each is kept in the comparison's own folder."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomalyvfm.cluster.progress import Progress
from anomalyvfm.cluster.workers import Cluster, Show, Workers, capacity, connected, unshown
from anomalyvfm.data import open_dataset
from anomalyvfm.evaluation.compare import Pipeline, compare
from anomalyvfm.features.backbones.backbone import resolve_device


@dataclass(frozen=True)
class CompareRuns:
    """Runs of some pipelines on one category; ``count`` images go by in all of them together."""

    category: str
    pipelines: Sequence[Pipeline]
    count: int

    def carefully(self) -> CompareRuns:
        return self

    def __str__(self) -> str:
        return f"{self.category}: {', '.join(pipeline.label for pipeline in self.pipelines)}"


class Comparing:
    """Makes runs that are not yet in ``folder``."""

    def __init__(self, data: Path, seeds: Sequence[int], folder: Path, device: str) -> None:
        self._given = data, seeds, folder, device

    def prepare(self) -> None:
        """Nothing: each run loads the network it needs."""

    def do(self, task: CompareRuns, seen: Callable[[int], None]) -> None:
        """Leave the runs of a task in the folder."""
        data, seeds, folder, device = self._given
        compare(data, [task.category], task.pipelines, seeds, folder, device)


@dataclass
class ClusterCompare:
    """Makes the runs of a comparison on a cluster, of which ``folder`` is seen by all machines."""

    cluster: Cluster
    show: Show = unshown
    summary: dict[str, Any] = field(default_factory=dict)

    def compare(
        self,
        data: Path,
        categories: Sequence[str],
        compared: Sequence[Pipeline],
        seeds: Sequence[int],
        folder: Path,
        device: str,
    ) -> None:
        """Have all runs made that are not in ``folder``; `evaluation.compare.compare` then finds them there.

        Of as many categories as workers or more, each goes to one worker, which computes its features once
        for all pipelines; of fewer, each pipeline does. Raises InputError.
        """
        gpus = resolve_device(device).type == "cuda"
        with self.show() as listen, connected(self.cluster):
            together = len(categories) >= capacity(self.cluster, gpus)[0]
            shares = [compared] if together else [[pipeline] for pipeline in compared]
            tasks = []
            for name in categories:
                found = open_dataset(data, name, seeds[0])
                images = len(found.train) + len(found.validation) + len(found.test)
                tasks += [CompareRuns(name, share, images * len(share) * len(seeds)) for share in shares]
            progress = Progress(sum(task.count for task in tasks))
            job = Comparing(data, seeds, folder, device)
            places = [str(data), str(folder)]
            count = len(tasks)
            with closing(Workers(self.cluster, job, places, progress, listen, count, gpus)) as workers:
                deque(workers.do(tasks), maxlen=0)
        self.summary = {"parts": len(tasks), **progress.as_dict()}
