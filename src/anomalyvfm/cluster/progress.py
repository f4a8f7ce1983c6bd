"""How far the work on a cluster is: images per second of each worker, an estimate of the end, stragglers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

# A part that took so many times as long an image as the middle one has held the others up.
_SLOW = 2.0


@dataclass
class Finished:
    """A task that came to its end."""

    task: str
    worker: str
    images: int
    seconds: float


@dataclass
class Lost:
    """A worker that died over a task."""

    worker: str
    task: str
    reason: str


@dataclass
class _Worker:
    since: float
    images: int = 0
    """Of finished tasks."""
    under_way: int = 0
    """Of the task it is at."""


@dataclass
class Progress:
    """Of ``images`` in all, of which some were ``done`` by an earlier run."""

    images: int
    done: int = 0
    clock: Callable[[], float] = time.monotonic
    finished: list[Finished] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    _workers: dict[str, _Worker] = field(default_factory=dict)
    _started: float = 0.0

    def __post_init__(self) -> None:
        self._started = self.clock()
        self._before = self.done

    def came(self, worker: str) -> None:
        """A worker is ready."""
        self._workers[worker] = _Worker(self.clock())

    def went(self, worker: str, task: str, reason: str) -> None:
        """A worker has died, and what it was at is done anew."""
        self.lost.append(Lost(worker, task, reason))
        self._workers.pop(worker, None)

    def seen(self, worker: str, images: int) -> None:
        """So many images of the task it is at have gone by."""
        if worker in self._workers:
            self._workers[worker].under_way = images

    def end(self, worker: str, task: str, images: int, seconds: float) -> None:
        """A task came to its end."""
        self.done += images
        self.finished.append(Finished(task, worker, images, seconds))
        if worker in self._workers:
            self._workers[worker].images += images
            self._workers[worker].under_way = 0

    @property
    def count(self) -> int:
        """Images that have gone by."""
        return min(self.images, self.done + sum(worker.under_way for worker in self._workers.values()))

    def rates(self) -> dict[str, float]:
        """Images per second of each worker there is, since it was ready."""
        now = self.clock()
        return {
            name: (worker.images + worker.under_way) / max(now - worker.since, 1e-9)
            for name, worker in self._workers.items()
        }

    @property
    def rate(self) -> float:
        """Images per second of all, since the start."""
        return (self.count - self._before) / max(self.clock() - self._started, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """As far as the rate so far tells; None before the first image."""
        return (self.images - self.count) / self.rate if self.count > self._before else None

    def stragglers(self) -> list[Finished]:
        """The tasks that took much longer for an image than most, the slowest first."""
        timed = [one for one in self.finished if one.images]
        if not timed:
            return []
        usual = median(one.seconds / one.images for one in timed)
        slow = [one for one in timed if one.seconds / one.images > _SLOW * usual]
        return sorted(slow, key=lambda one: -one.seconds / one.images)

    def as_dict(self) -> dict[str, Any]:
        """What a summary says."""
        by_worker: dict[str, tuple[int, float]] = {}
        for one in self.finished:
            images, seconds = by_worker.get(one.worker, (0, 0.0))
            by_worker[one.worker] = images + one.images, seconds + one.seconds
        return {
            "images": self.images,
            "images_before": self._before,
            "seconds": round(self.clock() - self._started, 3),
            "workers": {
                name: {
                    "images": images,
                    "busy_seconds": round(seconds, 3),
                    "images_per_second": round(images / seconds, 3) if seconds else None,
                }
                for name, (images, seconds) in sorted(by_worker.items())
            },
            "workers_lost": [asdict(one) for one in self.lost],
            "stragglers": [
                {
                    "task": one.task,
                    "worker": one.worker,
                    "images": one.images,
                    "seconds": round(one.seconds, 3),
                }
                for one in self.stragglers()
            ],
        }
