"""Who changed what, when: rows that are added in the transaction of the change, and never changed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from anomalyvfm.server.store.clock import iso, now
from anomalyvfm.server.store.tables import AuditRow


def note(session: Session, by: str, action: str, object_: str, detail: str = "") -> None:
    session.add(AuditRow(at=now(), by=by, action=action, object=object_[:200], detail=detail[:2000]))


def forget(session: Session, before: float) -> int:
    """Delete what is older, and say so in the log; how many entries went."""
    gone = session.execute(delete(AuditRow).where(AuditRow.at < before))
    count: int = gone.rowcount  # type: ignore[attr-defined]  # a delete has one
    if count:
        note(session, "station", "log shortened", "audit", f"{count} entries of before {iso(before)}")
    return count


def newest(session: Session, before: int | None, limit: int) -> list[dict[str, Any]]:
    query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditRow.id < before)
    return [
        {
            "id": row.id,
            "at": iso(row.at),
            "by": row.by,
            "action": row.action,
            "object": row.object,
            "detail": row.detail,
        }
        for row in session.scalars(query)
    ]
