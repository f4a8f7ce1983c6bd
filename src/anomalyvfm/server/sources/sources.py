"""All sources of a station, each with a thread of its own."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.line.settings import AnySource, FolderSettings
from anomalyvfm.line.sources.camera import CameraDownError, Frame
from anomalyvfm.line.sources.feed import Feed
from anomalyvfm.line.sources.opening import CameraSource
from anomalyvfm.line.states import State, States
from anomalyvfm.server.decoding.pool import kind_of
from anomalyvfm.server.metrics import Metrics
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.sources.folder import FolderSource
from anomalyvfm.server.sources.intake import UNDER_WAY, Intake, Source, SourceImage
from anomalyvfm.server.store.clock import iso_or_none, now
from anomalyvfm.server.store.database import Database

MOST = 32
"""Sources of a station."""
_FAST = 1
"""Of PNG's levels of compression: the part goes by meanwhile."""


class Sources:
    """A camera's frame is judged at once or dropped; a folder's files wait where they lie."""

    def __init__(
        self,
        settings: Mapping[str, AnySource],
        intake: Intake,
        database: Database,
        states: States,
        metrics: Metrics,
        largest: int,
    ) -> None:
        """``largest``: bytes that a file may have. Raises InputError where what a source needs is missing."""
        self._intake = intake
        self._database = database
        self._states = states
        self._metrics = metrics
        self._largest = largest
        self._workers = ThreadPoolExecutor(UNDER_WAY * MOST, thread_name_prefix="take")
        self._changing = threading.RLock()
        self._sources: dict[str, Source] = {}
        self._running: dict[str, CameraSource | FolderSource] = {}
        self._is_started = False
        for name, of_one in settings.items():
            self.add(name, of_one)

    def start(self) -> None:
        with self._changing:
            self._is_started = True
            for running in self._running.values():
                running.start()

    def close(self) -> None:
        """Take no more, and let what was taken be judged and kept: the batcher goes on until then."""
        with self._changing:
            for running in self._running.values():
                running.end()  # all at once: each may have a camera to wait for
            for name in list(self._running):
                self._stop(name)
        self._workers.shutdown()

    def trace(self, span: Callable[[SourceImage], AbstractContextManager[Any]]) -> None:
        """Have ``span`` surround the way of each image."""
        self._intake.span = span

    def add(self, name: str, settings: AnySource, paused: bool = False) -> None:
        """Have one source more, or this one instead of the one of its name.

        Raises InputError where what it needs is missing; the one before is gone on with then.
        """
        with self._changing:
            source = Source(name, settings, paused=paused)
            opened = None if paused else self._open(source)
            self._stop(name)
            self._sources[name] = source
            if opened is not None:
                self._run(name, opened)

    def hold(self, name: str, settings: AnySource, why: str) -> None:
        """Have a source that cannot be opened, so that people see it, and why."""
        with self._changing:
            self._sources[name] = Source(name, settings)
            self._states.trouble(f"source {name}", why)

    def remove(self, name: str) -> None:
        """Have one source less; what came from it before is judged."""
        with self._changing:
            self._stop(name)
            self._sources.pop(name, None)

    def pause(self, name: str, paused: bool) -> None:
        """Have a source take no images, or take them again; it keeps its counts. Raises as `add` does."""
        with self._changing:
            source = self._sources[name]
            if paused:
                self._stop(name)
            elif name not in self._running:
                self._run(name, self._open(source))
            source.paused = paused

    def _open(self, source: Source) -> CameraSource | FolderSource:
        settings = source.settings
        if not isinstance(settings, FolderSettings):
            take, lose = partial(self._take, source), partial(self._lose, source)
            return CameraSource(source.name, settings, self._states, take, lose)
        return FolderSource(
            source, settings, self._intake, self._workers, self._database, self._states, self._largest
        )

    def _run(self, name: str, opened: CameraSource | FolderSource) -> None:
        self._running[name] = opened
        if self._is_started:
            opened.start()

    def _stop(self, name: str) -> None:
        running = self._running.pop(name, None)
        if running is not None and self._is_started:
            running.end()
            running.join()
        for what in _STATES:
            self._states.forget(f"{what} {name}")

    def ask(self, name: str, fields: Mapping[str, str]) -> None:
        """Have the next frame of a camera judged. Raises Problem 404, 409, or 503 where none will come."""
        source, feed = self._sources.get(name), self._feed(name)
        if source is not None and source.paused:
            raise Problem(409, f"{name}: is paused; have it go on first")
        if feed is None:
            raise Problem(404, f"{name}: no camera of this station")
        if not feed.is_asked:
            raise Problem(
                409, f'{name}: takes frames by itself; with trigger = "message" it is asked for them'
            )
        try:
            feed.ask(fields)
        except CameraDownError as error:
            raise Problem(503, f"{name}: {error}; the part counts as refused", retry_after=2) from None

    def _feed(self, name: str) -> Feed | None:
        running = self._running.get(name)
        return running.feed if isinstance(running, CameraSource) else None

    def names(self) -> list[str]:
        return list(self._sources)

    def describe(self) -> list[dict[str, Any]]:
        """How each fares; counts are since the station's start, or the source's."""
        states = self._states.all()
        return [self._describe(source, states) for source in list(self._sources.values())]

    def in_trouble(self) -> int:
        """How many have some."""
        troubles = self._states.troubles()
        return sum(any(f"{what} {name}" in troubles for what in _STATES) for name in list(self._sources))

    def _describe(self, source: Source, states: Mapping[str, State]) -> dict[str, Any]:
        settings = source.settings
        feed = self._feed(source.name)
        said = [states[f"{what} {source.name}"] for what in _STATES if f"{what} {source.name}" in states]
        found = [state.trouble for state in said if state.trouble is not None]
        return {
            "name": source.name,
            "kind": settings.kind,
            "from": settings.where,
            "trigger": None if isinstance(settings, FolderSettings) else settings.trigger,
            "model": settings.model,
            "trouble": "; ".join(found) or None,
            "paused": source.paused,
            "starting": not source.paused and f"source {source.name}" not in states,
            "judged": source.judged,
            "refused": source.refused,
            "failed": source.failed,
            "dropped": 0 if feed is None else feed.dropped,
            "ended": feed is not None and feed.has_ended,
            "last": iso_or_none(source.last),
            "last_inspection": source.last_inspection,
        }

    def _take(self, source: Source, frame: Frame) -> bool:
        place = self._intake.place(source)
        if place is None:
            self._metrics.source_images.labels(source.name, "dropped").inc()
            return False
        source.last = now()
        self._workers.submit(self._judge, source, frame, place)
        return True

    def _judge(self, source: Source, frame: Frame, place: ExitStack) -> None:
        with place:
            content = frame.picture if isinstance(frame.picture, bytes) else _as_file(frame.picture)
            moment = datetime.fromtimestamp(now(), timezone.utc)
            name = f"{source.name} {moment:%Y-%m-%d %H.%M.%S.%f}"[:-3]
            image = SourceImage(source, f"{name}.{kind_of(content)}".rstrip("."), frame.fields, frame.taken)
            self._intake.judge(image, content)

    def _lose(self, source: Source, fields: Mapping[str, str], why: str) -> None:
        """A part that was asked for and not seen: who waits for its verdict is to know."""
        self._intake.refuse(SourceImage(source, source.name, fields), f"not seen: {why}")


_STATES = ("source", "trigger of", "images of", "files of")
"""What the states of a source are called, before its name."""


def _as_file(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=_FAST)
    return stream.getvalue()
