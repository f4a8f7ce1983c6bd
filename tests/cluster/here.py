"""Workers that are this process: tasks are done in any order, and some of them twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from anomalyvfm.cluster.progress import Progress
from anomalyvfm.cluster.workers import Cluster


class Here:
    order = random.Random(0)
    dies_after: int | None = None
    careful = False

    def __init__(
        self,
        cluster: Cluster,
        job: Any,
        probes: Any,
        progress: Progress,
        listen: Callable[[Progress], None],
        tasks: int,
        gpus: bool,
    ) -> None:
        self._job, self._progress, self._listen = job, progress, listen
        self.waiting = _Queue()

    def do(self, tasks: Iterable[Any]) -> Iterator[Any]:
        self._job.prepare()
        self.waiting.extend(tasks)
        done = 0
        while self.waiting:
            task = self.waiting.pop(self.order.randrange(len(self.waiting)))
            if self.careful:
                task = task.carefully()
            for _ in range(self.order.choice([1, 1, 2])):  # as where its worker died when it had just done it
                self._job.do(task, lambda images: None)
            self._progress.end("here", str(task), task.count, 1.0)
            done += 1
            if done == self.dies_after:
                raise KeyboardInterrupt
            yield task

    def close(self) -> None:
        pass


class _Queue(list[Any]):
    def appendleft(self, task: Any) -> None:
        self.append(task)
