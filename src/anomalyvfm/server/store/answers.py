"""Answers that were given, so that a request sent again by a client that heard none is not done again."""

from __future__ import annotations

from sqlalchemy import delete

from anomalyvfm.server.store.clock import now
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.tables import AnswerRow

_KEPT_SECONDS = 24 * 3600.0


def find(database: Database, by: str, key: str) -> AnswerRow | None:
    with database.reading() as session:
        row = session.get(AnswerRow, (by, key))
    return row if row is not None and row.at >= now() - _KEPT_SECONDS else None


def keep(database: Database, by: str, key: str, request: str, status: int, body: str) -> None:
    with database.writing() as session:
        session.merge(AnswerRow(by=by, key=key, request=request, at=now(), status=status, body=body))


def forget_old(database: Database) -> None:
    with database.writing() as session:
        session.execute(delete(AnswerRow).where(AnswerRow.at < now() - _KEPT_SECONDS))
