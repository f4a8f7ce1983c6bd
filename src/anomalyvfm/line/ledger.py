"""The ledger of a watched folder: which files were judged, what came out, and who has been told.

A file of SQLite. What was judged and what is to be told are one row, written at once: after a power cut there
is either both or neither. A sink reads the rows in order and keeps its place among them, so telling a sink
costs no row of its own.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from anomalyvfm.errors import InputError
from anomalyvfm.line.messages import Message, Outcome

LEDGER = "ledger.sqlite3"
_SCHEMA = 1

_TABLES = f"""
CREATE TABLE parts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    path BLOB NOT NULL,      -- below the folder, as the system writes it
    size INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    sha256 TEXT,
    stored BLOB NOT NULL,    -- below parts/, where its result and pictures lie
    outcome TEXT NOT NULL,
    message TEXT NOT NULL,
    filed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX parts_path ON parts (path, number);
CREATE UNIQUE INDEX parts_stored ON parts (stored);
CREATE INDEX parts_unfiled ON parts (number) WHERE filed = 0;
CREATE TABLE sinks (name TEXT PRIMARY KEY, told INTEGER NOT NULL);
CREATE TABLE put_off (
    sink TEXT NOT NULL,
    number INTEGER NOT NULL,
    given_up INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (sink, number)
);
PRAGMA user_version = {_SCHEMA};
"""

# So many parts' times of arrival are remembered, for what must be told while the part is still there.
_REMEMBERED = 10_000


@dataclass(frozen=True)
class FileState:
    """Tells a file from what lay under its name before."""

    size: int
    modified: int
    """Nanoseconds, as the file system says."""


@dataclass(frozen=True)
class Part:
    """A judged file, as it enters the ledger."""

    number: int
    id: str
    path: Path
    """Below the watched folder."""
    state: FileState
    sha256: str | None
    stored: Path
    outcome: Outcome
    message: str
    arrived: float
    """By the monotonic clock: when the file was whole."""


@dataclass(frozen=True)
class Unfiled:
    """A judged file whose result is not yet written down beside it."""

    number: int
    path: Path
    state: FileState
    stored: Path
    message: str


class Ledger:
    """Open for one process at a time, for all its threads. Raises InputError for a file that is no ledger."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._lock = threading.RLock()
        self._arrived: OrderedDict[int, float] = OrderedDict()
        try:
            self._database = sqlite3.connect(place, timeout=30, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            schema = self._database.execute("PRAGMA user_version").fetchone()[0]
            if schema == 0:
                self._database.executescript(f"BEGIN; {_TABLES} COMMIT;")
            found = self._database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'parts'").fetchone()
        except sqlite3.Error as error:
            raise InputError(f"{place}: no ledger of `watch` ({error}); choose another --out") from None
        if schema > _SCHEMA:
            self._database.close()
            raise InputError(f"{place}: written by a later release (schema {schema}); update anomalyvfm")
        self._next = 1 + (found[0] if found else 0)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    @property
    def next_number(self) -> int:
        """That of the part to be added next."""
        return self._next

    @staticmethod
    def new_id() -> str:
        return uuid.uuid4().hex

    def add(self, part: Part) -> None:
        """Keep a judged file; it is on the disk when this returns. Raises OSError where it cannot be."""
        with self._writing(durable=True) as database:
            database.execute(
                "INSERT INTO parts (number, id, path, size, modified, sha256, stored, outcome, message)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    part.number,
                    part.id,
                    os.fsencode(part.path),
                    part.state.size,
                    part.state.modified,
                    part.sha256,
                    os.fsencode(part.stored),
                    part.outcome,
                    part.message,
                ),
            )
        with self._lock:
            self._next += 1
            self._arrived[part.number] = part.arrived
            if len(self._arrived) > _REMEMBERED:
                self._arrived.popitem(last=False)

    def is_judged(self, path: Path, state: FileState) -> bool:
        """Whether the file under this name was judged as it now is."""
        found = self._newest(path)
        return found is not None and found[0] == state

    def is_to_move(self, path: Path, state: FileState) -> bool:
        """Whether it was, and is not filed yet: once it is moved, what has its name is another part."""
        found = self._newest(path)
        return found is not None and found == (state, False)

    def is_same(self, path: Path, sha256: str, state: FileState) -> bool:
        """Whether the file judged last under this name had this content: it was touched, or copied back.

        Its new state is kept, so that it need not be read again.
        """
        name = os.fsencode(path)
        with self._lock:
            found = self._database.execute(
                "SELECT number, sha256 FROM parts WHERE path = ? ORDER BY number DESC LIMIT 1", (name,)
            ).fetchone()
            if found is None or found[1] != sha256:
                return False
            with self._writing() as database:
                database.execute(
                    "UPDATE parts SET size = ?, modified = ? WHERE number = ?",
                    (state.size, state.modified, found[0]),
                )
        return True

    def is_stored(self, stored: Path) -> bool:
        """Whether a place below parts/ is taken."""
        with self._lock:
            return (
                self._database.execute(
                    "SELECT 1 FROM parts WHERE stored = ?", (os.fsencode(stored),)
                ).fetchone()
                is not None
            )

    def unfiled(self, limit: int) -> list[Unfiled]:
        """The oldest whose results are not written."""
        with self._lock:
            rows = self._database.execute(
                "SELECT number, path, size, modified, stored, message FROM parts WHERE filed = 0"
                " ORDER BY number LIMIT ?",
                (limit,),
            ).fetchall()
        return [
            Unfiled(
                number, Path(os.fsdecode(path)), FileState(size, modified), Path(os.fsdecode(stored)), message
            )
            for number, path, size, modified, stored, message in rows
        ]

    def mark_filed(self, number: int) -> None:
        with self._writing() as database:
            database.execute("UPDATE parts SET filed = 1 WHERE number = ?", (number,))

    def counts(self) -> dict[Outcome, int]:
        """Of all parts ever judged."""
        with self._lock:
            rows = self._database.execute("SELECT outcome, count(*) FROM parts GROUP BY outcome").fetchall()
        return {cast(Outcome, outcome): count for outcome, count in rows}

    def subscribe(self, sink: str) -> None:
        """Give a sink a place among the parts: one that is new hears of those judged from now on."""
        with self._writing() as database:
            database.execute(
                "INSERT INTO sinks (name, told) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
                (sink, self._next - 1),
            )

    def untold(self, sink: str, limit: int) -> list[Message]:
        """What a sink has not been told, the oldest first."""
        return self._messages(
            "number > (SELECT told FROM sinks WHERE name = ?) ORDER BY number LIMIT ?", (sink, limit)
        )

    def put_off(self, sink: str) -> list[int]:
        """Numbers of what the sink did not take at first and is to be told again."""
        with self._lock:
            rows = self._database.execute(
                "SELECT number FROM put_off WHERE sink = ? AND NOT given_up ORDER BY number", (sink,)
            ).fetchall()
        return [number for (number,) in rows]

    def message(self, number: int) -> Message | None:
        return next(iter(self._messages("number = ?", (number,))), None)

    def told(self, sink: str, number: int) -> None:
        """The sink has it: of its news this or one put off."""
        with self._writing() as database:
            self._step(database, sink, number)
            database.execute("DELETE FROM put_off WHERE sink = ? AND number = ?", (sink, number))

    def refused(self, sink: str, number: int, reason: str, final: bool) -> None:
        """The sink would not have this one: it is put off, or ``final``: never sent again by itself."""
        with self._writing() as database:
            self._step(database, sink, number)
            database.execute(
                "INSERT INTO put_off (sink, number, given_up, reason) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (sink, number) DO UPDATE"
                " SET given_up = excluded.given_up, reason = excluded.reason",
                (sink, number, final, reason),
            )

    def waiting(self, sink: str) -> tuple[int, int]:
        """How many messages wait for a sink, and how many it refused for good."""
        with self._lock:
            told = self._database.execute("SELECT told FROM sinks WHERE name = ?", (sink,)).fetchone()[0]
            given_up, put_off = self._database.execute(
                "SELECT coalesce(sum(given_up), 0), count(*) FROM put_off WHERE sink = ?", (sink,)
            ).fetchone()
        return self._next - 1 - told + put_off - given_up, given_up

    def _newest(self, path: Path) -> tuple[FileState, bool] | None:
        """Of what was judged under a name the last: how its file was, and whether it is filed."""
        with self._lock:
            found = self._database.execute(
                "SELECT size, modified, filed FROM parts WHERE path = ? ORDER BY number DESC LIMIT 1",
                (os.fsencode(path),),
            ).fetchone()
        return found and (FileState(found[0], found[1]), bool(found[2]))

    def _step(self, database: sqlite3.Connection, sink: str, number: int) -> None:
        database.execute("UPDATE sinks SET told = max(told, ?) WHERE name = ?", (number, sink))

    def _messages(self, where: str, values: tuple[object, ...]) -> list[Message]:
        with self._lock:
            rows = self._database.execute(
                f"SELECT number, id, outcome, message FROM parts WHERE {where}",
                values,
            ).fetchall()
            return [
                Message(number, id_, outcome, message, self._arrived.get(number))
                for number, id_, outcome, message in rows
            ]

    @contextmanager
    def _writing(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction. ``durable``: it waits for the disk, so that no power cut undoes it.

        What is not may be undone by a power cut alone, and is then done again.
        """
        with self._lock:
            try:
                self._database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    yield self._database
                    self._database.execute("COMMIT")
                except BaseException:
                    if self._database.in_transaction:
                        self._database.execute("ROLLBACK")
                    raise
            except sqlite3.OperationalError as error:  # the disk is full, or gone
                raise OSError(None, str(error), str(self._place)) from error
