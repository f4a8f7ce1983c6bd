"""All sources of a station, each with a thread of its own."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.line.settings import AnyCamera, AnySource, FolderSettings
from anomalyvfm.line.sources.camera import CameraDownError, Frame
from anomalyvfm.line.sources.opening import Cameras
from anomalyvfm.line.states import States
from anomalyvfm.server.decoding.pool import kind_of
from anomalyvfm.server.metrics import Metrics
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.sources.folder import FolderSource
from anomalyvfm.server.sources.intake import UNDER_WAY, Intake, Source, SourceImage
from anomalyvfm.server.store.clock import iso_or_none, now
from anomalyvfm.server.store.database import Database

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
        self._states = states
        self._metrics = metrics
        self._ending = threading.Event()
        self._sources = {name: Source(name, of_one) for name, of_one in settings.items()}
        cameras: dict[str, AnyCamera] = {
            name: of_one for name, of_one in settings.items() if not isinstance(of_one, FolderSettings)
        }
        self._cameras = Cameras(cameras, states, self._take, self._lose)
        self._workers = ThreadPoolExecutor(UNDER_WAY * max(1, len(self._sources)), thread_name_prefix="take")
        self._folders = [
            FolderSource(
                self._sources[name], of_one, intake, self._workers, database, states, largest, self._ending
            )
            for name, of_one in settings.items()
            if isinstance(of_one, FolderSettings)
        ]

    def start(self) -> None:
        self._cameras.start()
        for folder in self._folders:
            folder.start()

    def close(self) -> None:
        """Take no more, and let what was taken be judged and kept: the batcher goes on until then."""
        self._ending.set()
        self._cameras.close()
        for folder in self._folders:
            folder.join()
        self._workers.shutdown()

    def ask(self, name: str, fields: Mapping[str, str]) -> None:
        """Have the next frame of a camera judged. Raises Problem 404, 409, or 503 where none will come."""
        feed = self._cameras.feeds.get(name)
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

    def describe(self) -> list[dict[str, Any]]:
        """How each fares; counts are since the station's start."""
        troubles = self._states.troubles()
        return [self._describe(source, troubles) for source in self._sources.values()]

    def _describe(self, source: Source, troubles: Mapping[str, str]) -> dict[str, Any]:
        settings = source.settings
        feed = self._cameras.feeds.get(source.name)
        found = [troubles[f"{what} {source.name}"] for what in _STATES if f"{what} {source.name}" in troubles]
        return {
            "name": source.name,
            "kind": settings.kind,
            "from": settings.where,
            "trigger": None if isinstance(settings, FolderSettings) else settings.trigger,
            "model": settings.model,
            "trouble": "; ".join(found) or None,
            "judged": source.judged,
            "refused": source.refused,
            "failed": source.failed,
            "dropped": 0 if feed is None else feed.dropped,
            "ended": feed is not None and feed.has_ended,
            "last": iso_or_none(source.last),
        }

    def _take(self, name: str, frame: Frame) -> bool:
        source = self._sources[name]
        place = self._intake.place(source)
        if place is None:
            self._metrics.source_images.labels(name, "dropped").inc()
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

    def _lose(self, name: str, fields: Mapping[str, str], why: str) -> None:
        """A part that was asked for and not seen: who waits for its verdict is to know."""
        self._intake.refuse(SourceImage(self._sources[name], name, fields), f"not seen: {why}")


_STATES = ("source", "trigger of", "images of", "files of")
"""What the states of a source are called, before its name."""


def _as_file(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=_FAST)
    return stream.getvalue()
