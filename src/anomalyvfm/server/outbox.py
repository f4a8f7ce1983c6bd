"""What sinks are told of: the inspections themselves, read in order, and each sink's place among them.

As in the ledger of a watched folder, an inspection and its news are one row: after a power cut there are both
or neither. Refusals, frames of the station's own sources without a verdict, are told of as well. They are
counted apart from inspections, and have their numbers below zero here.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from anomalyvfm.line.messages import Message, describe
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.inspections import as_dict, fields_of
from anomalyvfm.server.store.tables import InspectionRow, PutOffRow, RefusalRow, SinkRow

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
        """When the images of inspections and refusals were there, by the monotonic clock."""
        with self._lock:
            self._arrived.update(parts)
            while len(self._arrived) > _REMEMBERED:
                self._arrived.popitem(last=False)

    def subscribe(self, sink: str) -> None:
        with self._writing() as session:
            if session.get(SinkRow, sink) is None:
                last = session.scalar(select(func.max(InspectionRow.id))) or 0
                last_refusal = session.scalar(select(func.max(RefusalRow.id))) or 0
                session.add(SinkRow(name=sink, told=last, refusals_told=last_refusal))

    def untold(self, sink: str, limit: int) -> list[Message]:
        with self._reading() as session:
            told, refusals_told = _places(session, sink)
            # Of one kind at a time: who has been told of one has been told of all before it.
            refusals = select(RefusalRow).where(RefusalRow.id > refusals_told).order_by(RefusalRow.id)
            if found := [self._refusal(row) for row in session.scalars(refusals.limit(limit))]:
                return found
            query = select(InspectionRow).where(InspectionRow.id > told).order_by(InspectionRow.id)
            return [self._inspection(row) for row in session.scalars(query.limit(limit))]

    def put_off(self, sink: str) -> list[int]:
        with self._reading() as session:
            query = select(PutOffRow.number).where(PutOffRow.sink == sink, PutOffRow.given_up.is_(False))
            return list(session.scalars(query.order_by(PutOffRow.number)))

    def message(self, number: int) -> Message | None:
        with self._reading() as session:
            if number < 0:
                refusal = session.get(RefusalRow, -number)
                return None if refusal is None else self._refusal(refusal)
            row = session.get(InspectionRow, number)
            return None if row is None else self._inspection(row)

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
            told, refusals_told = _places(session, sink)
            untold = session.scalar(select(func.count(InspectionRow.id)).where(InspectionRow.id > told)) or 0
            refusals = select(func.count(RefusalRow.id)).where(RefusalRow.id > refusals_told)
            untold += session.scalar(refusals) or 0
            counts = select(PutOffRow.given_up, func.count()).where(PutOffRow.sink == sink)
            off = {
                given_up: count for given_up, count in session.execute(counts.group_by(PutOffRow.given_up))
            }
        return untold + off.get(False, 0), off.get(True, 0)

    def _inspection(self, row: InspectionRow) -> Message:
        part = as_dict(row)
        said = ("score", "p_value", "anomalous", "promised", "light", "regions", "ms")
        content = describe(
            number=row.id,
            part_id=f"{self._station}-{row.id}",
            at=row.at,
            path=row.name,
            sha256=row.image,
            fields=part["fields"],
            model={"name": row.model, "version": row.version},
            verdict={key: part[key] for key in said},
        )
        return self._message(content)

    def _refusal(self, row: RefusalRow) -> Message:
        content = describe(
            number=-row.id,
            part_id=f"{self._station}-refused-{row.id}",
            at=row.at,
            path=row.name,
            sha256=None,
            fields={name: value for name, value in fields_of(row).items() if value is not None},
            model={"name": row.model},
            verdict={"error": row.reason},
        )
        return self._message(content)

    def _message(self, content: dict[str, Any]) -> Message:
        number = content["number"]
        body = json.dumps(content, allow_nan=False, ensure_ascii=False)
        return Message(number, content["id"], content["outcome"], body, self._arrived.get(number))

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
    if row is None:
        return
    if number < 0:
        row.refusals_told = max(row.refusals_told, -number)
    else:
        row.told = max(row.told, number)


def _places(session: Session, sink: str) -> tuple[int, int]:
    """The last inspection and the last refusal that a sink has been told of."""
    row = session.get(SinkRow, sink)
    return (0, 0) if row is None else (row.told, row.refusals_told)


@contextmanager
def _as_system_error() -> Iterator[None]:
    """A database that is away or full is an error of the system, as a disk that is."""
    try:
        yield
    except DBAPIError as error:
        raise OSError(None, " ".join(str(error.orig).split())) from error
