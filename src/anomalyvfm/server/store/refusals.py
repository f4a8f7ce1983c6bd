"""Images of sources that got no verdict, and files that were taken whatever became of them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from anomalyvfm.line.ledger import FileState
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.store.clock import iso, now
from anomalyvfm.server.store.inspections import InspectionFilter, fields_of
from anomalyvfm.server.store.tables import RefusalRow, SourceFileRow

PICTURES = 100
"""So many of the last refusals have their pictures."""

Taken = Literal["never", "judged", "refused"]


@dataclass(frozen=True)
class FileTaken:
    """A file of a watched folder, as it was when it was taken."""

    source: str
    path: Path
    """Below the folder."""
    state: FileState

    def row(self, refused: bool = False) -> SourceFileRow:
        return SourceFileRow(
            source=self.source,
            path=_digest(self.path),
            size=self.state.size,
            modified=self.state.modified,
            refused=refused,
        )


def taken(session: Session, file: FileTaken) -> Taken:
    """What became of the file as it is."""
    row = session.get(SourceFileRow, (file.source, _digest(file.path)))
    if row is None or (row.size, row.modified) != (file.state.size, file.state.modified):
        return "never"
    return "refused" if row.refused else "judged"


def forget_file(session: Session, file: FileTaken) -> None:
    """It is gone: another of its name is another part."""
    row = SourceFileRow
    session.execute(delete(row).where(row.source == file.source, row.path == _digest(file.path)))


def add(
    session: Session,
    source: str,
    model: str,
    name: str,
    reason: str,
    fields: Mapping[str, str],
    file: FileTaken | None,
    picture: bytes | None = None,
) -> int:
    """The number of the refusal. Pictures are kept of the last ones: a camera may be dark for days."""
    row = RefusalRow(
        at=now(), source=source, model=model, name=name, reason=reason, picture=picture, **fields
    )
    session.add(row)
    if file is not None:
        session.merge(file.row(refused=True))
    session.flush()
    before = RefusalRow.id.between(row.id - 2 * PICTURES, row.id - PICTURES)  # a bounded few
    session.execute(update(RefusalRow).where(before).values(picture=None))
    return row.id


def newest(session: Session, limit: int) -> list[dict[str, Any]]:
    query = select(RefusalRow, RefusalRow.picture.is_not(None)).order_by(RefusalRow.id.desc()).limit(limit)
    return [
        {
            "number": row.id,
            "at": iso(row.at),
            "source": row.source,
            "model": row.model,
            "name": row.name,
            "reason": row.reason,
            "fields": {name: value for name, value in fields_of(row).items() if value is not None},
            "has_picture": has_picture,
        }
        for row, has_picture in session.execute(query)
    ]


def picture(session: Session, number: int) -> bytes:
    """The picture of a refusal. Raises Problem 404 where there is none, or none any more."""
    found = session.scalar(select(RefusalRow.picture).where(RefusalRow.id == number))
    if found is None:
        raise Problem(404, f"refusal {number}: has no picture here")
    return found


def count_by_reason(session: Session, wanted: InspectionFilter) -> list[dict[str, Any]]:
    """Refusals of parts that a filter names, by source and kind of reason, the most frequent first."""
    row = RefusalRow
    conditions = [fields_of(row)[field] == value for field, value in wanted.fields.items()]
    conditions += [] if wanted.model is None else [row.model == wanted.model]
    conditions += [] if wanted.since is None else [row.at >= wanted.since]
    conditions += [] if wanted.until is None else [row.at < wanted.until]
    counts = Counter[tuple[str, str]]()
    reasons = select(row.source, row.reason, func.count()).where(*conditions)
    for source, reason, count in session.execute(reasons.group_by(row.source, row.reason)):
        counts[source, reason.partition(":")[0]] += count
    return [
        {"source": source, "reason": reason, "count": count}
        for (source, reason), count in counts.most_common()
    ]


def forget_old(session: Session, before: float) -> None:
    """Delete the refusals of earlier times, in seconds since 1970."""
    session.execute(delete(RefusalRow).where(RefusalRow.at < before))


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()
