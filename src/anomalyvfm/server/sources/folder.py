"""A folder as the line fills it: each file is judged once, and what cannot go on waits where it lies."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from anomalyvfm.line.fields import plain
from anomalyvfm.line.folder import FileFound, WatchedFolder, state_of
from anomalyvfm.line.ledger import FileState
from anomalyvfm.line.settings import FolderSettings
from anomalyvfm.line.states import States
from anomalyvfm.server.problems import as_problem
from anomalyvfm.server.sources.intake import Intake, Source, SourceImage
from anomalyvfm.server.store import refusals
from anomalyvfm.server.store.clock import now
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.refusals import FileTaken

_log = logging.getLogger(__name__)

_POLL_SECONDS, _PAUSE_SECONDS = 0.05, 1.0


class FolderSource:
    """A thread looks, ``workers`` take what it finds."""

    def __init__(
        self,
        source: Source,
        settings: FolderSettings,
        intake: Intake,
        workers: Executor,
        database: Database,
        states: States,
        largest: int,
    ) -> None:
        """``largest``: bytes that a file may have."""
        self._source = source
        self._settings = settings
        self._intake = intake
        self._workers = workers
        self._database = database
        self._states = states
        self._largest = largest
        self._ending = threading.Event()
        self._state = f"source {source.name}"
        self._watched = WatchedFolder(settings.folder, self._is_taken, settings.settle)
        self._thread = threading.Thread(target=self._run, name=f"look at {source.name}")

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Hand on no more files from now on."""
        self._ending.set()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            started = time.monotonic()
            try:
                found = self._watched.look()
                self._states.well(self._state)
            except OSError as error:
                where = f"{self._settings.folder}: {error.strerror or error}"
                self._states.trouble(self._state, f"{where}; it is looked for")
                self._ending.wait(_PAUSE_SECONDS)
                continue
            except Exception as error:  # the database is away, or whatever it is
                self._states.trouble(self._state, f"{as_problem(error).detail}; it is tried again")
                self._ending.wait(_PAUSE_SECONDS)
                continue
            seconds = time.monotonic() - started
            for file in found:
                self._hand_on(file)
            # A look at very many files takes its time, and is not to take all of a core.
            self._ending.wait(max(_POLL_SECONDS, 2 * seconds))

    def _hand_on(self, file: FileFound) -> None:
        """To a worker, once there is room; what is left when this ends is found by the next run."""
        while not self._ending.is_set():
            if (place := self._intake.place(self._source, wait=_POLL_SECONDS)) is not None:
                self._source.last = now()
                self._workers.submit(self._take, file, place)
                return
            self._ending.wait(_POLL_SECONDS / 2)

    def _take(self, file: FileFound, place: ExitStack) -> None:
        with place:
            try:
                self._judge(file)
            except Exception:
                _log.exception("%s: %s", self._state, plain(file.path.as_posix()))
                self._watched.again(file)

    def _judge(self, file: FileFound) -> None:
        path = self._settings.folder / file.path
        taken = FileTaken(self._source.name, file.path, file.state)
        image = SourceImage(self._source, plain(file.path.as_posix()), taken=file.seen, file=taken)
        try:
            if file.state.size > self._largest:
                kept = self._intake.refuse(image, f"decode: an image may have {self._largest} bytes")
            else:
                content = path.read_bytes()
                if len(content) != file.state.size or state_of(path) != file.state:  # it has grown meanwhile
                    self._watched.again(file)
                    return
                kept = self._intake.judge(image, content, is_whole=file.settled)
        except FileNotFoundError:
            return
        except OSError as error:
            reason = f"decode: cannot be read ({error.strerror})"
            kept = self._intake.refuse(image, reason) if file.settled else "nothing"
        if kept == "verdict":
            self._remove(taken)
        if kept != "nothing":
            return
        if file.settled:  # it is the station that cannot
            self._ending.wait(_PAUSE_SECONDS)
        self._watched.again(file)

    def _is_taken(self, path: Path, state: FileState) -> bool:
        taken = FileTaken(self._source.name, path, state)
        with self._database.reading() as session:
            became = refusals.taken(session, taken)
        if became == "judged":
            self._remove(taken)  # a station that was killed has left it
        return became != "never"

    def _remove(self, file: FileTaken) -> None:
        """The file, where it is to go: the station has what was in it."""
        path = self._settings.folder / file.path
        if self._settings.then == "leave" or state_of(path) != file.state:
            return
        try:
            path.unlink()
        except OSError as error:
            what = f"{path}: cannot be deleted ({error.strerror}); it lies there, judged"
            self._states.trouble(f"files of {self._source.name}", what)
            return
        self._states.well(f"files of {self._source.name}")
        try:
            with self._database.writing() as session:
                refusals.forget_file(session, file)
        except SQLAlchemyError:
            pass  # another of the same name, size and time would be one too many
