"""One queue in front of the models: images of many requests are judged together."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data import ImageError
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.server.metrics import Metrics
from anomalyvfm.server.models.registry import ActiveVersion, ModelRegistry
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.settings import Settings
from anomalyvfm.server.store.refusals import FileTaken

_log = logging.getLogger(__name__)


@dataclass
class Part:
    """An image on its way: what was sent, what it shows, and who waits for what."""

    model: str
    name: str
    by: str
    content: bytes
    pixels: NDArray[np.uint8]
    thumbnail: bytes
    job_item: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    """Who it is, by `line.fields.FIELDS`."""
    file: FileTaken | None = None
    """Of a watched folder: it is noted as taken with the inspection, in one transaction."""
    accepted: float = field(default_factory=time.monotonic)
    answer: Future[dict[str, Any]] = field(default_factory=Future)
    """The inspection, once it is in the store."""


_Judged = tuple[str, ActiveVersion, list[tuple[Part, Verdict]]]
"""A batch of one model's parts, by the version that judged them."""

Keep = Callable[[str, ActiveVersion, Sequence[tuple[Part, Verdict]]], Sequence[dict[str, Any]]]
"""Puts verdicts into the store, in one transaction; the inspections in the same order."""


class Batcher:
    """A thread judges, another keeps what was judged; the queue between them holds two batches.

    What takes a place in the queue is bounded by :meth:`places`, so memory is.
    """

    def __init__(self, registry: ModelRegistry, keep: Keep, settings: Settings, metrics: Metrics) -> None:
        self._registry = registry
        self._keep = keep
        self._settings = settings
        self._metrics = metrics
        self._waiting: deque[Part] = deque()
        self._taken = 0
        self._seconds_an_image = 0.05
        self._changed = threading.Condition()
        self._closing = False
        self._judged: queue.Queue[_Judged | None] = queue.Queue(2)
        self._threads = [
            threading.Thread(target=self._judge, name="judge"),
            threading.Thread(target=self._write, name="keep"),
        ]
        for thread in self._threads:
            thread.start()

    @contextmanager
    def places(self, count: int = 1) -> Iterator[None]:
        """Room for so many images until the block ends. Raises Problem 429 where there is none."""
        with self._changed:
            if self._closing:
                raise Problem(503, "the station is stopping; try again in a minute", retry_after=10)
            # However large a request, it gets in when nothing else waits: it has a limit of its own.
            if self._taken and self._taken + count > self._settings.limits.waiting:
                wait = self.seconds_for(self._taken)
                raise Problem(429, f"{self._taken} images are waiting; send again in {wait} s", wait)
            self._taken += count
            self._metrics.waiting.set(self._taken)
        try:
            yield
        finally:
            with self._changed:
                self._taken -= count
                self._metrics.waiting.set(self._taken)

    @property
    def is_busy(self) -> bool:
        """Whether an image has a place: it waits, or is being judged."""
        return self._taken > 0

    def seconds_for(self, images: int) -> int:
        """How long so many images take to be judged, at the present pace."""
        return max(1, round(images * self._seconds_an_image))

    def submit(self, part: Part) -> None:
        with self._changed:
            if self._closing:
                raise Problem(503, "the station is stopping; try again in a minute", retry_after=10)
            self._waiting.append(part)
            self._changed.notify_all()

    def close(self) -> None:
        """Judge and keep what was submitted, and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _judge(self) -> None:
        while (batch := self._next()) is not None:
            model, parts = batch
            started = time.monotonic()
            try:
                current = self._registry.get(model).active
                verdicts = list(current.detector.judge([part.pixels for part in parts]))
            except Exception as error:  # whatever it is, the station goes on with the next batch
                _fail(parts, error)
                continue
            judged = []
            for part, (_, verdict) in zip(parts, verdicts, strict=True):
                if isinstance(verdict, ImageError):
                    part.answer.set_exception(verdict)
                else:
                    judged.append((part, verdict))
            self._metrics.batches.observe(len(parts))
            each = (time.monotonic() - started) / len(parts)
            self._seconds_an_image += 0.1 * (each - self._seconds_an_image)
            if judged:
                self._judged.put((model, current, judged))
            del parts, verdicts, judged, batch  # not to be held while waiting for the next
        self._judged.put(None)

    def _next(self) -> tuple[str, list[Part]] | None:
        """The next images of one model, as many as it takes at once; None when all is done."""
        with self._changed:
            while not self._waiting:
                if self._closing:
                    return None
                self._changed.wait()
            model = self._waiting[0].model
            size = self._batch_size(model)
            until = time.monotonic() + self._settings.gather_seconds
            while len(self._waiting) < size and not self._closing and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            parts: list[Part] = []
            others: deque[Part] = deque()
            while self._waiting and len(parts) < size:
                part = self._waiting.popleft()
                if part.model != model:
                    others.append(part)
                elif part.answer.set_running_or_notify_cancel():  # its request may have been given up
                    parts.append(part)
            self._waiting.extendleft(reversed(others))
            if parts:
                return model, parts
        return self._next()

    def _batch_size(self, model: str) -> int:
        try:
            return max(1, self._registry.get(model).active.detector.together)
        except Problem:
            return 1

    def _write(self) -> None:
        while (judged := self._judged.get()) is not None:
            model, current, parts = judged
            try:
                kept = self._keep(model, current, parts)
            except Exception as error:
                _fail([part for part, _ in parts], error)
                continue
            for (part, _), inspection in zip(parts, kept, strict=True):
                self._metrics.answered.observe(time.monotonic() - part.accepted)
                part.answer.set_result(inspection)
            del judged, parts, kept


def _fail(parts: Sequence[Part], error: Exception) -> None:
    _log.error("%d images not judged: %s", len(parts), " ".join(str(error).split()) or type(error).__name__)
    for part in parts:
        part.answer.set_exception(error)


def plain_name(name: str) -> str:
    """A client's name for an image, for people to read; it never becomes a path."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(letter for letter in base if letter.isprintable())[:200]
