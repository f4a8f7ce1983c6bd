"""Batch jobs in the background: what was accepted is judged, also after a restart."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from anomalyvfm.server.batching import Batcher, Part
from anomalyvfm.server.decoding.pool import Decoders
from anomalyvfm.server.problems import Problem, as_problem
from anomalyvfm.server.store import jobs
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import Files
from anomalyvfm.server.store.tables import JobItemRow, JobRow

_log = logging.getLogger(__name__)

# Few, so that images of people who wait come in between.
_AT_ONCE = 8
_PAUSE_SECONDS = 2.0
_REFUSED = (400, 413, 415, 422, 404)
"""Answers that trying again would not change."""


class Worker:
    """A thread that takes waiting images from the store until there are none, and sleeps until told."""

    def __init__(self, database: Database, files: Files, decoders: Decoders, batcher: Batcher) -> None:
        self._database = database
        self._files = files
        self._decoders = decoders
        self._batcher = batcher
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._wake.set()
        self._thread = threading.Thread(target=self._run, name="jobs")
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

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
            decoded = self._decoders.pixels(content)
            part = Part(job.model, item.name, job.by, content, decoded.pixels, decoded.thumbnail, item.id)
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
