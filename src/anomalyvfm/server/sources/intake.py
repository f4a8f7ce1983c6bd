"""The way of a source's image: it is decoded, passes the gate, and is judged as images that are sent are.

One that is no good is refused: that is kept, and sinks are told, so that nobody waits for its verdict.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

from anomalyvfm.line.gate import Gate
from anomalyvfm.line.settings import AnySource
from anomalyvfm.line.states import States
from anomalyvfm.server.decoding.pool import Decoded, Decoders
from anomalyvfm.server.inspections.batching import Batcher, Part, plain_name
from anomalyvfm.server.inspections.job_runner import Fields
from anomalyvfm.server.metrics import Metrics
from anomalyvfm.server.models.catalogue import Catalogue
from anomalyvfm.server.problems import Problem, as_problem
from anomalyvfm.server.store import refusals
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.refusals import FileTaken

UNDER_WAY = 8
"""Images of one source that may be on their way to a verdict."""
_ABOUT_THE_IMAGE = (413, 415, 422)
"""Answers that say that the image is no good; after all others it could be tried again."""

Kept = Literal["verdict", "refusal", "nothing"]
"""With a verdict the image is kept as well; of one that is refused it is not."""


@dataclass
class Source:
    """One source, and what has become of its images since the station's start."""

    name: str
    settings: AnySource
    judged: int = 0
    refused: int = 0
    failed: int = 0
    """The station could not judge or keep them at the time."""
    paused: bool = False
    """It takes no images until a person says so."""
    last: float | None = None
    """When the last image came, in seconds since 1970."""
    last_inspection: int | None = None
    """The number of the newest one."""
    room: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(UNDER_WAY))

    @property
    def trouble(self) -> str:
        """The state that tells of its images; the camera has one of its own."""
        return f"images of {self.name}"


@dataclass(frozen=True)
class SourceImage:
    """An image of a source, on its way."""

    source: Source
    name: str
    """For people, below the folder where it is a file; it never becomes a path."""
    told: Mapping[str, str] = field(default_factory=dict)
    """Fields that were said of this part."""
    taken: float = field(default_factory=time.monotonic)
    file: FileTaken | None = None


class Intake:
    """For all sources and threads."""

    def __init__(
        self,
        gate: Gate,
        batcher: Batcher,
        decoders: Decoders,
        models: Catalogue,
        database: Database,
        states: States,
        metrics: Metrics,
        fields: Fields,
        tell: Callable[[Mapping[int, float]], None],
    ) -> None:
        """``tell`` hears of refusals: by number below zero, when each image was there."""
        self._gate = gate
        self._batcher = batcher
        self._decoders = decoders
        self._models = models
        self._database = database
        self._states = states
        self._metrics = metrics
        self._fields = fields
        self._tell = tell
        self.span: Callable[[SourceImage], AbstractContextManager[Any]] = nullcontext
        """Surrounds the way of each image."""

    def place(self, source: Source, wait: float = 0.0) -> ExitStack | None:
        """Room for an image, until the stack is closed; None where there is none within ``wait`` seconds."""
        if not source.room.acquire(timeout=wait):
            return None
        place = ExitStack()
        place.callback(source.room.release)
        try:
            place.enter_context(self._batcher.places())
        except Problem:
            place.close()
            return None
        return place

    def judge(self, image: SourceImage, content: bytes, is_whole: bool = True) -> Kept:
        """What the store has of the image now; where it has nothing, the image could be tried again.

        What does not decode is refused if it ``is_whole``, that is, if no more of it can come.
        """
        with self.span(image):
            return self._judge(image, content, is_whole)

    def _judge(self, image: SourceImage, content: bytes, is_whole: bool) -> Kept:
        source = image.source
        try:
            model = self._models.name(source.settings.model)
            decoded = self._decoders.pixels(content, self._models.white_level(model))
            if (reason := self._gate.refusal(decoded.pixels)) is not None:
                return self.refuse(image, reason, decoded)
            part = Part(
                model,
                plain_name(image.name),
                f"source {source.name}",
                content,
                decoded.pixels,
                decoded.thumbnail,
                fields=self._fields_of(image, decoded.codes),
                file=image.file,
                accepted=image.taken,
            )
            self._batcher.submit(part)
            source.last_inspection = part.answer.result()["id"]
        except Exception as error:
            problem = as_problem(error)
            if problem.status in _ABOUT_THE_IMAGE:
                reason = f"decode: {problem.detail.removeprefix('image data: ')}"
                return self.refuse(image, reason) if is_whole else "nothing"
            # A frame cannot be had again, and an image that breaks the model would do so again.
            if image.file is None or problem.status == 500:
                return self.refuse(image, f"not judged: {problem.detail}")
            self._fail(source, problem)
            return "nothing"
        source.judged += 1
        self._metrics.source_images.labels(source.name, "judged").inc()
        self._states.well(source.trouble)
        return "verdict"

    def refuse(self, image: SourceImage, reason: str, decoded: Decoded | None = None) -> Kept:
        """Keep that an image has no verdict, and why, and what it shows, where the store takes it."""
        source = image.source
        try:
            model = self._models.name(source.settings.model)
            with self._database.writing() as session:
                number = refusals.add(
                    session,
                    source.name,
                    model,
                    plain_name(image.name),
                    reason,
                    self._fields_of(image, () if decoded is None else decoded.codes),
                    image.file,
                    None if decoded is None else decoded.thumbnail,
                )
        except Exception as error:
            self._fail(source, as_problem(error))
            return "nothing"
        source.refused += 1
        self._metrics.source_images.labels(source.name, "refused").inc()
        self._states.trouble(source.trouble, f"the last one was refused: {reason}")
        self._tell({-number: image.taken})
        return "refusal"

    def _fail(self, source: Source, problem: Problem) -> None:
        source.failed += 1
        self._metrics.source_images.labels(source.name, "failed").inc()
        self._states.trouble(source.trouble, f"the last one could not be judged: {problem.detail}")

    def _fields_of(self, image: SourceImage, codes: Sequence[str]) -> dict[str, str]:
        return self._fields(image.name, {**image.source.settings.fields.known, **image.told}, codes)
