"""The models of a station: each a row of immutable versions, one of which judges."""

from __future__ import annotations

import copy
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from anomalyvfm.errors import InputError
from anomalyvfm.model_file import read_description
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.store import audit, versions
from anomalyvfm.server.store.clock import now
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import sync_folder
from anomalyvfm.server.store.tables import ModelRow, VersionRow

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")

Loader = Callable[[Path], "Detector"]


@dataclass(frozen=True)
class Current:
    """A version. Replaced as a whole, never changed: whoever holds it can go on with it."""

    number: int
    detector: Detector


@dataclass
class Shelved:
    """A model, and the lock that whoever makes its next version holds from its parent to its place."""

    name: str
    head: Current
    """The active version, as what it learned is kept; the next one is made from it."""
    current: Current
    """What judges: the head, or while its Gaussians are made from its sums, the version before."""
    jumps: int = 0
    """How often another version was chosen by hand."""
    changing: threading.RLock = field(default_factory=threading.RLock)

    @property
    def readiest(self) -> Detector:
        """The head's detector, with what judging needs where that is made already."""
        return (self.current if self.current.number == self.head.number else self.head).detector


@dataclass(frozen=True)
class Change:
    """Why there is a new version."""

    action: str
    by: str
    why: str
    inspection_id: int | None = None
    added: str | None = None
    removed: str | None = None


class Shelf:
    """Versions are folders under ``folder/<model>/``, written and synced before the row that names them.

    A kill leaves at most a folder without a row, removed at the next start.
    """

    def __init__(self, folder: Path, database: Database, load: Loader) -> None:
        self._folder = folder
        self._database = database
        self._load = load
        self._models: dict[str, Shelved] = {}
        self._placing = ThreadPoolExecutor(1, thread_name_prefix="derive")

    def open(self, given: Sequence[Path]) -> None:
        """Take in the given model folders where they are new, and load every model's active version.

        Raises InputError where a folder is no model, or its name cannot be a model's.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        for place in given:
            self._take_in(place)
        with self._database.reading() as session:
            rows = session.scalars(select(ModelRow).order_by(ModelRow.name)).all()
            if not rows:
                raise InputError("no model to judge with; name a model folder: anomalyvfm serve MODEL")
            active = [versions.find_version(session, row.name, row.active) for row in rows]
        for version in active:
            loaded = self._loaded(version)
            self._models[version.model] = Shelved(version.model, loaded, loaded)

    def names(self) -> list[str]:
        return sorted(self._models)

    def get(self, name: str) -> Shelved:
        """Raises Problem 404 for an unknown name."""
        shelved = self._models.get(name)
        if shelved is None:
            raise Problem(404, "no model of that name; /api/models lists them")
        return shelved

    def default(self) -> str:
        with self._database.reading() as session:
            name = session.scalar(select(ModelRow.name).where(ModelRow.is_default))
        return name or self.names()[0]

    def load_again(self, name: str) -> Shelved:
        """Load a model's active version from its folder, as at the start."""
        shelved = self.get(name)
        with shelved.changing:
            with self._database.reading() as session:
                version = versions.find_version(session, name, shelved.head.number)
            self._jump(shelved, self._loaded(version))
        return shelved

    def add_version(
        self, shelved: Shelved, detector: Detector, change: Change, also: Callable[[Session], None]
    ) -> int:
        """Keep a detector as the model's next version; its number.

        It is safe when this returns, and judges a moment later: what judging needs is made from its sums
        in the background, so that neither people nor images wait for it. ``also`` is done in the same
        transaction. The caller holds ``shelved.changing``.
        """
        folder = self._save(shelved.name, detector)
        try:
            with self._database.writing() as session:
                number = self._record(session, shelved.name, folder.name, change, shelved.head.number)
                also(session)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shelved.head = Current(number, detector)
        self._placing.submit(self._place, shelved, shelved.head, shelved.jumps)
        return number

    def settle(self) -> None:
        """Wait until every model judges with its active version."""
        self._placing.submit(lambda: None).result()

    def close(self) -> None:
        self._placing.shutdown(cancel_futures=True)

    def _place(self, shelved: Shelved, version: Current, jumps: int) -> None:
        if shelved.head is not version:
            return  # a later one is on its way
        try:
            ready = clone(version.detector)  # the head itself stays as it is, for others copy it meanwhile
            ready.scorer_.derive()
        except Exception:
            _log.exception(
                "version %d of %s cannot judge; the one before goes on", version.number, shelved.name
            )
            return
        with shelved.changing:
            if shelved.jumps == jumps:
                shelved.current = Current(version.number, ready)

    def _jump(self, shelved: Shelved, loaded: Current) -> None:
        shelved.jumps += 1
        shelved.head = shelved.current = loaded

    def activate(self, name: str, number: int, expected: int, by: str, why: str) -> Shelved:
        """Judge with another version. Raises Problem 409 where ``expected`` no longer judges, or 404."""
        shelved = self.get(name)
        with shelved.changing:
            check_expected(shelved, expected)
            with self._database.reading() as session:
                version = versions.find_version(session, name, number)
            if not version.folder:
                raise Problem(409, f"version {number} of {name} is no longer kept; choose a later one")
            current = self._loaded(version)
            with self._database.writing() as session:
                versions.find_model(session, name).active = number
                audit.note(session, by, "activate", f"{name} {number}", f"instead of {expected}: {why}")
            self._jump(shelved, current)
        return shelved

    def make_default(self, name: str, by: str) -> None:
        with self._database.writing() as session:
            versions.find_model(session, name)
            for row in session.scalars(select(ModelRow)):
                row.is_default = row.name == name
            audit.note(session, by, "default", name)

    def prune(self, kept: int) -> int:
        """Let go of the folders of old versions; imported ones and the last ``kept`` stay. How many went."""
        gone: list[Path] = []
        with self._database.writing() as session:
            for model in session.scalars(select(ModelRow)):
                for version in versions.of_model(session, model.name)[kept:]:
                    if version.folder and version.action != "import" and version.number != model.active:
                        gone.append(self._folder / model.name / version.folder)
                        version.folder = ""
        for folder in gone:
            shutil.rmtree(folder, ignore_errors=True)
        return len(gone)

    def _take_in(self, place: Path) -> None:
        name = place.resolve().name
        if not _NAME.match(name):
            raise InputError(
                f"{place}: a model's name has letters, digits, - _ and . only; rename the folder"
            )
        seal = read_description(place)["sha256"]
        with self._database.reading() as session:
            known = select(VersionRow.id).where(VersionRow.model == name, VersionRow.source == seal)
            if session.scalar(known) is not None:
                return
        self._load(place)  # what cannot be loaded does not come in
        folder = self._folder / name / uuid4().hex
        shutil.copytree(place, folder)
        _sync(folder)
        with self._database.writing() as session:
            row = session.get(ModelRow, name)
            if row is None:
                first = session.scalar(select(ModelRow.name).limit(1)) is None
                row = ModelRow(name=name, active=0, is_default=first)
                session.add(row)
                session.flush()
            why = f"given at the start: {place.resolve()}"
            self._record(
                session, name, folder.name, Change("import", "station", why), row.active or None, seal
            )

    def _record(
        self,
        session: Session,
        name: str,
        folder: str,
        change: Change,
        parent: int | None,
        source: str | None = None,
    ) -> int:
        description = read_description(self._folder / name / folder)
        number = versions.next_number(session, name)
        session.add(
            VersionRow(
                model=name,
                number=number,
                parent=parent if change.action != "import" else None,
                action=change.action,
                by=change.by,
                at=now(),
                why=change.why,
                folder=folder,
                source=source,
                images=description["fitted_on"]["images"],
                calibration=description["calibration"],
                inspection_id=change.inspection_id,
                added=change.added,
                removed=change.removed,
            )
        )
        versions.find_model(session, name).active = number
        audit.note(session, change.by, change.action, f"{name} {number}", change.why)
        return number

    def _save(self, name: str, detector: Detector) -> Path:
        folder = self._folder / name / uuid4().hex
        detector.save(folder)
        _sync(folder)
        return folder

    def _loaded(self, version: VersionRow) -> Current:
        detector = self._load(self._folder / version.model / version.folder)
        detector.scorer_.derive()
        return Current(version.number, detector)

    def _sweep(self) -> None:
        with self._database.reading() as session:
            kept = {(row.model, row.folder) for row in session.scalars(select(VersionRow))}
        for folder in self._folder.glob("*/*"):
            if (folder.parent.name, folder.name) not in kept:
                shutil.rmtree(folder, ignore_errors=True)


def check_expected(shelved: Shelved, expected: int | None) -> None:
    """Raise Problem 409 where another version judges than the one a person looked at."""
    if expected is not None and expected != shelved.head.number:
        raise Problem(
            409, f"{shelved.name} is at version {shelved.head.number}, not {expected}; look again first"
        )


def clone(detector: Detector) -> Detector:
    """A copy to change while the original judges; the backbone, which nothing changes, is shared."""
    other = copy.copy(detector)
    other.scorer_ = copy.deepcopy(detector.scorer_)
    other.learned_ = detector.learned_.copy()
    other.skipped_ = []
    return other


def _sync(folder: Path) -> None:
    """Make a folder and what is in it survive a power cut."""
    for path in folder.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    sync_folder(folder)
    sync_folder(folder.parent)
