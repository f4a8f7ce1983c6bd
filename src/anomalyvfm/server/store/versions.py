"""Models and their versions, as rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from anomalyvfm.server.problems import Problem
from anomalyvfm.server.store.clock import iso
from anomalyvfm.server.store.tables import ModelRow, VersionRow


def as_dict(row: VersionRow, active: int) -> dict[str, Any]:
    return {
        "number": row.number,
        "parent": row.parent,
        "action": row.action,
        "by": row.by,
        "at": iso(row.at),
        "why": row.why,
        "images": row.images,
        "calibration": row.calibration,
        "inspection_id": row.inspection_id,
        "active": row.number == active,
        "kept": bool(row.folder),
        "compared": row.compared,
    }


def find_model(session: Session, name: str) -> ModelRow:
    """Raises Problem 404 for an unknown name."""
    row = session.get(ModelRow, name[:101])
    if row is None:
        raise Problem(404, "no model of that name; /api/models lists them")
    return row


def find_version(session: Session, model: str, number: int) -> VersionRow:
    """Raises Problem 404 for an unknown number."""
    query = select(VersionRow).where(VersionRow.model == model, VersionRow.number == number)
    row = session.scalar(query) if 0 < number < 1 << 31 else None
    if row is None:
        raise Problem(404, f"{model} has no version {number}")
    return row


def of_model(session: Session, model: str) -> Sequence[VersionRow]:
    """Newest first."""
    query = select(VersionRow).where(VersionRow.model == model).order_by(VersionRow.number.desc())
    return session.scalars(query).all()


def next_number(session: Session, model: str) -> int:
    return 1 + (session.scalar(select(func.max(VersionRow.number)).where(VersionRow.model == model)) or 0)


def taught(session: Session, model: str, number: int) -> Counter[str]:
    """What review has changed on the way to a version: 1 for an image learned, -1 for one forgotten."""
    query = select(VersionRow.number, VersionRow.parent, VersionRow.added, VersionRow.removed)
    rows = {row[0]: row[1:] for row in session.execute(query.where(VersionRow.model == model))}
    images: Counter[str] = Counter()
    step: int | None = number
    while step is not None:
        step, added, removed = rows[step]
        if added:
            images[added] += 1
        if removed:
            images[removed] -= 1
    return images
