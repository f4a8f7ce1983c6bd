"""Deleting what is too old or too much: rows first, then the files that no row needs any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, or_, select, true
from sqlalchemy.orm import Session

from anomalyvfm.server.settings import Retention
from anomalyvfm.server.store import audit, refusals
from anomalyvfm.server.store.clock import now
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import Files
from anomalyvfm.server.store.tables import GoodPatchRow, InspectionRow, JobItemRow, JobRow, VersionRow

_A_TIME = 500  # rows deleted in one transaction: nobody waits long for it


@dataclass(frozen=True)
class Freed:
    inspections: int
    bytes: int


def apply(retention: Retention, database: Database, files: Files, forget: Callable[[str], None]) -> Freed:
    """Delete by age, then the oldest until the size fits. ``forget`` hears of each deleted image's hash."""
    inspections = freed = 0
    while digests := _delete_some(retention, database):
        inspections += len(digests) // 2
        gone = set(digests) - _named_still(database, set(digests))
        freed += files.remove(gone, lambda digest: is_needed(database, digest))
        for digest in gone:
            forget(digest)
    if retention.days is not None:
        with database.writing() as session:
            refusals.forget_old(session, now() - retention.days * 86400)
    if retention.log_days is not None:
        with database.writing() as session:
            audit.forget(session, now() - retention.log_days * 86400)
    return Freed(inspections, freed)


def is_needed(database: Database, digest: str) -> bool:
    """Whether a row names the file."""
    with database.reading() as session:
        row = InspectionRow
        wanted = select(row.id).where(or_(row.image == digest, row.map == digest)).limit(1)
        if session.scalar(wanted) is not None:
            return True
        version = VersionRow
        made_with = or_(version.added == digest, version.removed == digest) & (version.folder != "")
        if session.scalar(select(version.id).where(made_with).limit(1)) is not None:
            return True
        if session.scalar(select(GoodPatchRow.picture).where(GoodPatchRow.picture == digest).limit(1)):
            return True
        item = JobItemRow
        waiting = select(item.id).where(item.image == digest, item.state == "waiting").limit(1)
        return session.scalar(waiting) is not None


def _named_still(database: Database, digests: set[str]) -> set[str]:
    """Those of some files that inspections name: what most of them are spared for, asked for all at once."""
    row = InspectionRow
    with database.reading() as session:
        return {
            digest
            for column in (row.image, row.map)
            for digest in session.scalars(select(column).where(column.in_(digests)).distinct())
        }


def named(database: Database, prefix: str) -> set[str]:
    """All files that rows name, of those whose names begin with ``prefix``."""
    row, version, item = InspectionRow, VersionRow, JobItemRow
    columns = [
        (row.image, true()),
        (row.map, true()),
        (GoodPatchRow.picture, true()),
        (version.added, version.folder != ""),
        (version.removed, version.folder != ""),
        (item.image, item.state == "waiting"),
    ]
    found: set[str] = set()
    with database.reading() as session:
        for column, condition in columns:
            # A range of the index: no name has a letter beyond f.
            within = select(column).where(column >= prefix, column < f"{prefix}g", condition)
            found.update(session.scalars(within))
    return found


def _delete_some(retention: Retention, database: Database) -> list[str]:
    with database.writing() as session:
        rows = _too_old(session, retention.days) or _too_many(session, retention.bytes)
        if rows:
            session.execute(delete(InspectionRow).where(InspectionRow.id.in_([row.id for row in rows])))
        if retention.days is not None:
            _delete_jobs(session, now() - retention.days * 86400)
        return [digest for row in rows for digest in (row.image, row.map)]


def _too_old(session: Session, days: float | None) -> Sequence[InspectionRow]:
    if days is None:
        return []
    row = InspectionRow
    # What a person has looked at is kept twice as long: models were changed by it.
    old = or_(row.at < now() - 2 * days * 86400, row.label.is_(None) & (row.at < now() - days * 86400))
    return session.scalars(select(row).where(old).order_by(row.id).limit(_A_TIME)).all()


def _too_many(session: Session, limit: int | None) -> Sequence[InspectionRow]:
    if limit is None:
        return []
    over = (session.scalar(select(func.sum(InspectionRow.bytes))) or 0) - limit
    if over <= 0:
        return []
    rows = []
    for row in session.scalars(select(InspectionRow).order_by(InspectionRow.id).limit(_A_TIME)):
        rows.append(row)
        over -= row.bytes
        if over <= 0:
            break
    return rows


def _delete_jobs(session: Session, before: float) -> None:
    unfinished = select(JobItemRow.job_id).where(JobItemRow.state == "waiting")
    session.execute(delete(JobRow).where(JobRow.at < before, JobRow.id.not_in(unfinished)))
