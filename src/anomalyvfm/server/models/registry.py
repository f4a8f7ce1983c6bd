"""The models of a station: each a row of immutable versions, one of which judges."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from anomalyvfm.errors import InputError
from anomalyvfm.model_folder import read_description
from anomalyvfm.server.models import importing
from anomalyvfm.server.models.version_folders import Loader, VersionFolders
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.store import audit, jobs, versions
from anomalyvfm.server.store.clock import now
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.tables import ModelRow, VersionRow

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector

_BLANK = np.zeros((256, 256, 3), np.uint8)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")


@dataclass(frozen=True)
class ActiveVersion:
    """A version. Replaced as a whole, never changed: whoever holds it can go on with it."""

    number: int
    detector: Detector


@dataclass(frozen=True)
class Compared:
    """What two versions say of the same parts that people have reviewed."""

    now: int
    """A version's number."""
    then: int
    """The number of the version after it; 0 where there is none yet."""
    defects: int
    """Parts reviewed as defects."""
    caught_now: int
    caught_then: int
    good: int
    """Parts reviewed as good."""
    passed_now: int
    passed_then: int

    def in_words(self) -> str:
        return (
            f"of {self.defects} reviewed defects {self.caught_then} are caught instead of {self.caught_now},"
            f" and of {self.good} good parts {self.passed_then} pass instead of {self.passed_now}"
        )


@dataclass(frozen=True)
class HeldBack(Compared):
    """A calibration that has not followed by itself: it waits for an engineer."""

    moves_far: bool
    """Whether the limit would rise beyond what chance explains, and not only pass reviewed defects."""


@dataclass
class RegisteredModel:
    """A model, and the lock that whoever makes its next version holds from its parent to its place."""

    name: str
    active: ActiveVersion
    """The active version: what judges, and what the next one is made from."""
    changing: threading.RLock = field(default_factory=threading.RLock)
    held_back: HeldBack | None = None


@dataclass(frozen=True)
class Change:
    """Why there is a new version."""

    action: str
    by: str
    why: str
    inspection_id: int | None = None
    added: str | None = None
    removed: str | None = None
    outline: list[Any] | None = None


class ModelRegistry:
    """All models, loaded; what is done to them is done through here."""

    def __init__(
        self,
        folders: VersionFolders,
        database: Database,
        load: Loader,
        publish: Callable[[str, int, str], None],
    ) -> None:
        self._folders = folders
        self._database = database
        self._load = load
        self._publish = publish  # a model's name, its new active version, and what was done
        self._models: dict[str, RegisteredModel] = {}
        self._receiving = threading.Lock()

    def open(self, given: Sequence[Path]) -> None:
        """Take in the given model folders where they are new, and load every model's active version.

        Raises InputError where a folder is no model, or its name cannot be a model's.
        """
        self._folders.open()
        for place in given:
            self._take_in(place)
        with self._database.reading() as session:
            rows = session.scalars(select(ModelRow).where(ModelRow.active > 0).order_by(ModelRow.name)).all()
            if not rows:
                raise InputError("no model to judge with; name a model folder: anomalyvfm serve MODEL")
            found = [(row, versions.find_version(session, row.name, row.active)) for row in rows]
        for row, version in found:
            held_back = HeldBack(**row.held_back) if row.held_back else None
            self._models[row.name] = RegisteredModel(row.name, self._loaded(version), held_back=held_back)

    def names(self) -> list[str]:
        return sorted(self._models)

    def get(self, name: str) -> RegisteredModel:
        """Raises Problem 404 for an unknown name."""
        registered = self._models.get(name)
        if registered is None:
            raise Problem(404, "no model of that name; /api/models lists them")
        return registered

    def default(self) -> str:
        with self._database.reading() as session:
            name = session.scalar(select(ModelRow.name).where(ModelRow.is_default))
        return name or self.names()[0]

    def load_again(self, name: str) -> RegisteredModel:
        """Load a model's active version from its folder, as at the start."""
        registered = self.get(name)
        with registered.changing:
            with self._database.reading() as session:
                version = versions.find_version(session, name, registered.active.number)
            registered.active = self._loaded(version)
        return registered

    def add_version(
        self, registered: RegisteredModel, detector: Detector, change: Change, also: Callable[[Session], None]
    ) -> int:
        """Make a detector the model's next version; its number.

        It is safe and judges when this returns. ``also`` is done in the same transaction. The caller holds
        ``registered.changing``.
        """
        detector.prepare()  # all that judging needs: the next image waits for nothing

        image, recalibrated = change.added or change.removed, change.action == "calibrate"
        with (
            self._folders.changing(registered.name, detector, image, recalibrated) as folder,
            self._database.writing() as session,
        ):
            parent = registered.active.number
            number = self._record(session, registered.name, folder, detector.describe(), change, parent)
            also(session)
        registered.active = ActiveVersion(number, detector)
        self._publish(registered.name, number, change.action)
        return number

    def activate(self, name: str, number: int, expected: int, by: str, why: str) -> RegisteredModel:
        """Judge with another version. Raises Problem 409 where ``expected`` no longer judges, or 404."""
        registered = self.get(name)
        with registered.changing:
            check_expected(registered, expected)
            with self._database.reading() as session:
                version = versions.find_version(session, name, number)
            if not version.folder:
                raise Problem(409, f"version {number} of {name} is no longer kept; choose a later one")
            loaded = self._loaded(version)
            with self._database.writing() as session:
                versions.find_model(session, name).active = number
                audit.note(session, by, "activate", f"{name} {number}", f"instead of {expected}: {why}")
            registered.active = loaded
        self._publish(name, number, "activate")
        return registered

    def make_default(self, name: str, by: str) -> None:
        with self._database.writing() as session:
            versions.find_model(session, name)
            for row in session.scalars(select(ModelRow)):
                row.is_default = row.name == name
            audit.note(session, by, "default", name)

    def delete(self, name: str, expected: int, by: str) -> None:
        """Judge with a model no more. Its parts stay, and its versions lie in the trash for some days.

        Raises Problem 409 where it is the default, images of jobs wait for it, or ``expected`` is not the
        version that judges.
        """
        registered = self.get(name)
        with registered.changing:
            check_expected(registered, expected)
            with self._database.writing() as session:
                model = versions.find_model(session, name)
                if model.is_default:
                    raise Problem(409, f"{name} is the default model; make another one that first")
                if waiting := jobs.count_waiting(session, name):
                    raise Problem(
                        409, f"{waiting} images of jobs wait for {name}; delete it when they are judged"
                    )
                model.active = 0
                for version in versions.of_model(session, name):
                    version.folder = ""
                audit.note(session, by, "delete", name, f"version {expected} judged")
            del self._models[name]
            self._folders.discard(name)
        self._publish(name, 0, "delete")

    def receive(self, name: str, contents: Mapping[str, IO[bytes]], most_pixels: int, by: str) -> int:
        """Take in a model that was sent, as the next version of the one of that name; its number.

        Raises Problem 422 where it is no usable model, 409 where it is here already.
        """
        if not _NAME.match(name):
            raise Problem(422, "a model's name has 1 to 100 letters, digits, - _ and ., the first no sign")
        with self._receiving:  # one at a time, for each needs the memory of a model
            backbones = {registered.active.detector.settings.backbone for registered in self._models.values()}
            with self._folders.receiving(name, contents) as (place, folder):
                description = importing.check(place, self._load, backbones, most_pixels)
                if self._has(name, description["sha256"], VersionRow.folder != ""):
                    raise Problem(409, f"this very model is a version of {name} already; go back to it")
                registered = self._models.get(name)
                with registered.changing if registered else nullcontext():
                    version = self._import(name, folder, description, Change("import", by, "sent"))
                    loaded = self._loaded(version)
                    if registered:
                        registered.active = loaded
                    else:
                        self._models[name] = RegisteredModel(name, loaded)
        self._publish(name, version.number, "import")
        return version.number

    def _take_in(self, place: Path) -> None:
        name = place.resolve().name
        if not _NAME.match(name):
            raise InputError(
                f"{place}: a model's name has letters, digits, - _ and . only; rename the folder"
            )
        description = read_description(place)
        if self._has(name, description["sha256"]):  # here, or deleted since, and then it does not come back
            return
        self._load(place)  # what cannot be loaded does not come in
        folder = self._folders.copy(name, place)
        self._import(name, folder, description, Change("import", "station", "given at the start"))

    def _has(self, name: str, seal: str, *more: ColumnElement[bool]) -> bool:
        with self._database.reading() as session:
            known = select(VersionRow.id).where(VersionRow.model == name, VersionRow.source == seal, *more)
            return session.scalar(known.limit(1)) is not None

    def _import(self, name: str, folder: str, description: dict[str, Any], change: Change) -> VersionRow:
        with self._database.writing() as session:
            if session.get(ModelRow, name) is None:
                first = session.scalar(select(ModelRow.name).limit(1)) is None
                session.add(ModelRow(name=name, active=0, is_default=first))
                session.flush()
            number = self._record(session, name, folder, description, change, None, description["sha256"])
            return versions.find_version(session, name, number)

    def _record(
        self,
        session: Session,
        name: str,
        folder: str,
        description: dict[str, Any],
        change: Change,
        parent: int | None,
        source: str | None = None,
    ) -> int:
        number = versions.next_number(session, name)
        session.add(
            VersionRow(
                model=name,
                number=number,
                parent=parent,
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
                outline=change.outline,
            )
        )
        versions.find_model(session, name).active = number
        audit.note(session, change.by, change.action, f"{name} {number}", change.why)
        return number

    def _loaded(self, version: VersionRow) -> ActiveVersion:
        detector = self._folders.load(version)
        # What is made with a first image is made with this one: the first part waits for nothing.
        list(detector.judge([_BLANK]))
        self._folders.copy_soon(version.model, version.folder, detector)
        return ActiveVersion(version.number, detector)


def check_expected(registered: RegisteredModel, expected: int | None) -> None:
    """Raise Problem 409 where another version judges than the one a person looked at."""
    if expected is not None and expected != registered.active.number:
        raise Problem(
            409,
            f"{registered.name} is at version {registered.active.number}, not {expected}; look again first",
        )
