"""What sinks are told of: the inspections themselves, read in order, and each sink's place among them.

As in the ledger of a watched folder, an inspection and its news are one row: after a power cut there are both
or neither.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import delete, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from anomalyvfm.line.messages import Message, Outcome
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.inspections import as_dict
from anomalyvfm.server.store.tables import InspectionRow, PutOffRow, SinkRow

# So many parts' times of arrival are remembered, for what must be told while the part is still there.
_REMEMBERED = 10_000


class InspectionOutbox:
    """An `Outbox` over a station's database, for all threads."""

    def __init__(self, database: Database, station: str) -> None:
        """``station`` is the id of the station: with a number it tells a part from all others anywhere."""
        self._database = database
        self._station = station
        self._lock = threading.Lock()
        self._arrived: OrderedDict[int, float] = OrderedDict()

    def arrived(self, parts: Mapping[int, float]) -> None:
        """When the images of inspections were there, by the monotonic clock."""
        with self._lock:
            self._arrived.update(parts)
            while len(self._arrived) > _REMEMBERED:
                self._arrived.popitem(last=False)

    def subscribe(self, sink: str) -> None:
        with self._writing() as session:
            if session.get(SinkRow, sink) is None:
                last = session.scalar(select(func.max(InspectionRow.id))) or 0
                session.add(SinkRow(name=sink, told=last))

    def untold(self, sink: str, limit: int) -> list[Message]:
        with self._reading() as session:
            told = session.scalar(select(SinkRow.told).where(SinkRow.name == sink)) or 0
            query = select(InspectionRow).where(InspectionRow.id > told)
            return [
                self._message(row) for row in session.scalars(query.order_by(InspectionRow.id).limit(limit))
            ]

    def put_off(self, sink: str) -> list[int]:
        with self._reading() as session:
            query = select(PutOffRow.number).where(PutOffRow.sink == sink, PutOffRow.given_up.is_(False))
            return list(session.scalars(query.order_by(PutOffRow.number)))

    def message(self, number: int) -> Message | None:
        with self._reading() as session:
            row = session.get(InspectionRow, number)
            return None if row is None else self._message(row)

    def told(self, sink: str, number: int) -> None:
        with self._writing() as session:
            _step(session, sink, number)
            session.execute(delete(PutOffRow).where(PutOffRow.sink == sink, PutOffRow.number == number))

    def refused(self, sink: str, number: int, reason: str, final: bool) -> None:
        with self._writing() as session:
            _step(session, sink, number)
            session.merge(PutOffRow(sink=sink, number=number, given_up=final, reason=reason))

    def waiting(self, sink: str) -> tuple[int, int]:
        with self._reading() as session:
            told = session.scalar(select(SinkRow.told).where(SinkRow.name == sink)) or 0
            untold = session.scalar(select(func.count(InspectionRow.id)).where(InspectionRow.id > told)) or 0
            counts = select(PutOffRow.given_up, func.count()).where(PutOffRow.sink == sink)
            off = {
                given_up: count for given_up, count in session.execute(counts.group_by(PutOffRow.given_up))
            }
        return untold + off.get(False, 0), off.get(True, 0)

    def _message(self, row: InspectionRow) -> Message:
        part = as_dict(row)
        outcome: Outcome = "anomalous" if row.anomalous else "good"
        body = {
            "id": f"{self._station}-{row.id}",
            "number": row.id,
            "at": part["at"],
            "path": row.name,
            "sha256": row.image,
            "fields": part["fields"],
            "model": {"name": row.model, "version": row.version},
            "outcome": outcome,
            **{
                key: part[key]
                for key in ("score", "p_value", "anomalous", "promised", "light", "regions", "ms")
            },
        }
        return Message(
            row.id,
            str(body["id"]),
            outcome,
            json.dumps(body, allow_nan=False, ensure_ascii=False),
            self._arrived.get(row.id),
        )

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with _as_system_error(), self._database.reading() as session:
            yield session

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with _as_system_error(), self._database.writing() as session:
            yield session


def _step(session: Session, sink: str, number: int) -> None:
    row = session.get(SinkRow, sink)
    if row is not None and row.told < number:
        row.told = number


@contextmanager
def _as_system_error() -> Iterator[None]:
    """A database that is away or full is an error of the system, as a disk that is."""
    try:
        yield
    except DBAPIError as error:
        raise OSError(None, " ".join(str(error.orig).split())) from error
