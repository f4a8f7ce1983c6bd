"""Batch jobs in the background: what was accepted is judged, also after a restart."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from anomalyvfm.server.decoding.pool import Decoders
from anomalyvfm.server.inspections.batching import Batcher, Part, plain_name
from anomalyvfm.server.models.catalogue import Catalogue
from anomalyvfm.server.problems import Problem, as_problem
from anomalyvfm.server.settings import Settings
from anomalyvfm.server.store import jobs
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import Files
from anomalyvfm.server.store.tables import JobItemRow, JobRow

_log = logging.getLogger(__name__)

# Few, so that images of people who wait come in between.
_AT_ONCE = 8
_PAUSE_SECONDS = 2.0
_LONGEST_WAIT = 3600
_REFUSED = (400, 413, 415, 422, 404)
"""Answers that trying again would not change."""


Fields = Callable[[str, Mapping[str, str], Sequence[str]], dict[str, str]]
"""A part's fields, by its name, what was sent of them, and what bar codes say."""


class JobRunner:
    """A thread that takes waiting images from the store until there are none, and sleeps until told."""

    def __init__(
        self,
        database: Database,
        files: Files,
        decoders: Decoders,
        batcher: Batcher,
        settings: Settings,
        models: Catalogue,
        fields: Fields,
    ) -> None:
        self._database = database
        self._files = files
        self._decoders = decoders
        self._batcher = batcher
        self._settings = settings
        self._models = models
        self._fields = fields
        self._accepting = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._wake.set()
        self._thread = threading.Thread(target=self._run, name="jobs")
        self._thread.start()

    def accept(
        self,
        images: Sequence[tuple[str, bytes]],
        model: str | None,
        by: str,
        fields: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """A job of images to be judged when there is time; they are on the disk when this returns.

        Raises Problem 429 where too many wait already, 507 where the disk has too little room.
        """
        model = self._models.name(model)
        for _, content in images:
            self._decoders.check(content)
        with self._accepting:  # one after another, so that together they stay within the bounds
            self._check_room(len(images), sum(len(content) for _, content in images))
            with self._files.keeping() as keep:
                kept = [(plain_name(name), keep(content)) for name, content in images]
                with self._database.writing() as session:
                    number = jobs.add(session, model, by, kept, fields)
        self._wake.set()
        return self.get(number)

    def get(self, number: int) -> dict[str, Any]:
        with self._database.reading() as session:
            return jobs.find(session, number)

    def newest(self, limit: int = 50) -> list[dict[str, Any]]:
        with self._database.reading() as session:
            return jobs.newest(session, limit)

    def items(self, number: int, offset: int, limit: int) -> list[dict[str, Any]]:
        with self._database.reading() as session:
            jobs.find(session, number)
            return jobs.items(session, number, offset, limit)

    def _check_room(self, count: int, size: int) -> None:
        limits = self._settings.limits
        with self._database.reading() as session:
            waiting = jobs.count_waiting(session)
        # However large a job, it gets in when nothing else waits: a request has a limit of its own.
        if waiting and waiting + count > limits.waiting_in_jobs:
            wait = min(self._batcher.seconds_for(waiting + count - limits.waiting_in_jobs), _LONGEST_WAIT)
            raise Problem(429, f"{waiting} images of jobs are waiting; send again in {wait} s", wait)
        disk = shutil.disk_usage(self._settings.data)
        if disk.free - size < limits.free_share * disk.total:
            raise Problem(507, "the station's disk is nearly full; free space or shorten the retention")

    def close(self) -> None:
        """Stop after the images at hand; the others wait in the store for the next start."""
        self._closing.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            try:
                while not self._closing.is_set() and self._some():
                    pass
            except (SQLAlchemyError, OSError, Problem) as error:
                # The database is away or the disk full: nothing is lost, it is tried again.
                _log.error("jobs pause: %s", " ".join(str(error).split()))
                self._closing.wait(_PAUSE_SECONDS)
                self._wake.set()

    def _some(self) -> bool:
        with self._database.reading() as session:
            waiting = jobs.waiting(session, _AT_ONCE)
        under_way = [(item, self._submitted(item, job)) for item, job in waiting]
        for item, answer in under_way:
            # Of a judged image the row was written with the inspection.
            if (error := answer.exception()) is not None:
                self._settle(item, as_problem(error))
        return bool(waiting)

    def _submitted(self, item: JobItemRow, job: JobRow) -> Future[dict[str, Any]]:
        try:
            content = self._files.read(item.image)
            decoded = self._decoders.pixels(content, self._models.white_level(job.model))
            part = Part(
                job.model,
                item.name,
                job.by,
                content,
                decoded.pixels,
                decoded.thumbnail,
                item.id,
                self._fields(item.name, job.fields or {}, decoded.codes),
            )
            self._batcher.submit(part)
        except (Problem, OSError) as error:
            refused: Future[dict[str, Any]] = Future()
            refused.set_exception(error)
            return refused
        return part.answer

    def _settle(self, item: JobItemRow, problem: Problem) -> None:
        if problem.status not in _REFUSED and problem.status != 500:
            raise problem
        with self._database.writing() as session:
            jobs.finish(session, item.id, None, problem.detail)
