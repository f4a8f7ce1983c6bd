"""Sources that people add, pause and remove while the station runs; they outlast it.

What names a file, folder or library of the machine, or a secret in one, is left to the file that `--config`
names: who may change a station over the network is not thereby let at its disk.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from anomalyvfm.errors import InputError
from anomalyvfm.line.settings import AnySource, LineSettings, StreamSettings
from anomalyvfm.line.states import States
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.sources.sources import MOST, Sources
from anomalyvfm.server.store import audit
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.tables import LineSourceRow

_KINDS = ("camera", "snapshot")
_OF_THE_MACHINE = ("password-file", "ca-file", "empty")
# FFmpeg would as well read files, and lists of them.
_ADDRESS = re.compile(r"(rtsps?|https?)://[^\s]+|/dev/video\d{1,3}")


class ChangingSources:
    """Over the sources of a station's file, which can be paused but not changed."""

    def __init__(
        self,
        sources: Sources,
        database: Database,
        states: States,
        models: Callable[[], Sequence[str]],
    ) -> None:
        """Takes up what was changed in earlier runs. ``models``: the names of those that may judge."""
        self._sources = sources
        self._database = database
        self._states = states
        self._models = models
        self._of_the_file = frozenset(sources.names())
        self._lock = threading.Lock()
        with database.reading() as session:
            rows = list(session.scalars(select(LineSourceRow).order_by(LineSourceRow.name)))
        for row in rows:
            self._take_up(row)

    def _take_up(self, row: LineSourceRow) -> None:
        if row.name in self._of_the_file:
            self._sources.pause(row.name, row.paused)
        elif row.settings is not None:
            try:
                settings = _read(row.name, json.loads(row.settings))
            except InputError as error:  # of another version of this program
                self._states.trouble(f"source {row.name}", str(error))
                return
            try:
                self._sources.add(row.name, settings, row.paused)
            except InputError as error:  # a library that is no longer here
                self._sources.hold(row.name, settings, str(error))

    def describe(self) -> list[dict[str, Any]]:
        """As `Sources.describe`, and where each is named: in the station's ``file``, or on the ``page``."""
        return [
            {**one, "named_in": "file" if one["name"] in self._of_the_file else "page"}
            for one in self._sources.describe()
        ]

    def put(self, name: str, table: Mapping[str, Any], by: str) -> None:
        """Add a source, or change one that was added, by the keys of a table ``[sources.NAME]``.

        Raises Problem 409 for one of the station's file, and 422 for what cannot be.
        """
        with self._lock:
            self._check_is_of_the_page(name)
            if name not in self._sources.names() and len(self._sources.names()) >= MOST:
                raise Problem(409, f"a station has {MOST} sources at most; remove one first")
            try:
                settings = _checked(name, table)
                if settings.model is not None and settings.model not in self._models():
                    raise InputError(f"sources.{name}.model: no model {settings.model} here")
                self._sources.add(name, settings)
            except InputError as error:
                raise Problem(422, str(error)) from None
            with self._database.writing() as session:
                session.merge(LineSourceRow(name=name, settings=json.dumps(table), paused=False))
                audit.note(session, by, "source added", name, f"{settings.kind}, {settings.where}")

    def remove(self, name: str, by: str) -> None:
        """Raises Problem 404, or 409 for a source of the station's file."""
        with self._lock:
            self._check_is_there(name)
            self._check_is_of_the_page(name)
            with self._database.writing() as session:
                if (row := session.get(LineSourceRow, name)) is not None:
                    session.delete(row)
                audit.note(session, by, "source removed", name)
            self._sources.remove(name)

    def pause(self, name: str, paused: bool, by: str) -> None:
        """Have a source take no images, or take them again. Raises Problem 404, or 422 where it cannot."""
        with self._lock:
            self._check_is_there(name)
            try:
                self._sources.pause(name, paused)
            except InputError as error:
                raise Problem(422, str(error)) from None
            with self._database.writing() as session:
                row = session.get(LineSourceRow, name)
                if row is None:
                    session.add(LineSourceRow(name=name, settings=None, paused=paused))
                else:
                    row.paused = paused
                audit.note(session, by, "source paused" if paused else "source goes on", name)

    def _check_is_there(self, name: str) -> None:
        if name not in self._sources.names():
            raise Problem(404, f"{name}: no source of this station")

    def _check_is_of_the_page(self, name: str) -> None:
        if name in self._of_the_file:
            raise Problem(409, f"{name}: is named in the station's file; change it there")


def _checked(name: str, table: Mapping[str, Any]) -> AnySource:
    """The settings that a person gives. Raises InputError."""
    if table.get("kind") not in _KINDS:
        raise InputError(
            f"sources.{name}.kind: {' or '.join(_KINDS)}; others name files or folders of the machine, and "
            "are for the file that --config names"
        )
    broker = table.get("broker")
    given = {*table, *(broker if isinstance(broker, Mapping) else ())}
    for key in _OF_THE_MACHINE:
        if key in given:
            raise InputError(f"sources.{name}.{key}: names a file; that is for the one that --config names")
    settings = _read(name, table)
    if (
        isinstance(settings, StreamSettings)
        and isinstance(settings.address, str)
        and not _ADDRESS.fullmatch(settings.address)
    ):
        raise InputError(
            f"sources.{name}.address: rtsp://…, rtsps://…, http://…, https://…, /dev/video0 or a number"
        )
    return settings


def _read(name: str, table: Mapping[str, Any]) -> AnySource:
    try:
        return LineSettings({"sources": {name: table}}, "").sources[name]
    except InputError as error:
        raise InputError(str(error).removeprefix(": ")) from None  # of no file
