"""Reviews: what people said of inspections. None is ever changed; the latest not undone is in force."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from anomalyvfm.server.problems import Problem
from anomalyvfm.server.store.clock import iso, now
from anomalyvfm.server.store.tables import InspectionRow, ReviewRow


def as_dict(row: ReviewRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "inspection_id": row.inspection_id,
        "label": row.label,
        "kind": row.kind,
        "by": row.by,
        "at": iso(row.at),
        "why": row.why,
        "outline": row.outline,
        "undone_by": row.undone_by,
    }


def find(session: Session, number: int) -> ReviewRow:
    """Raises Problem 404 for an unknown number."""
    row = session.get(ReviewRow, number) if 0 < number < 1 << 31 else None
    if row is None:
        raise Problem(404, f"review {number} is not here")
    return row


def of_content(session: Session, inspection: InspectionRow) -> list[ReviewRow]:
    """All not undone, of whichever parts of that model have this very image; oldest first."""
    row = InspectionRow
    query = select(ReviewRow).join(row, ReviewRow.inspection_id == row.id)
    query = query.where(row.image == inspection.image, row.model == inspection.model)
    return list(session.scalars(query.where(ReviewRow.undone_at.is_(None)).order_by(ReviewRow.id)))


def was_anomalous(session: Session, inspection: InspectionRow) -> bool:
    """Whether this part, or another with its very image that is called good, was anomalous when judged."""
    row = InspectionRow
    query = select(row.id).where(row.image == inspection.image, row.model == inspection.model, row.anomalous)
    called_good = or_(row.label == "good", row.id == inspection.id)
    return session.scalar(query.where(called_good).limit(1)) is not None


def in_force(session: Session, inspection_id: int) -> ReviewRow | None:
    query = select(ReviewRow).where(ReviewRow.inspection_id == inspection_id, ReviewRow.undone_at.is_(None))
    return session.scalar(query.order_by(ReviewRow.id.desc()).limit(1))


def kinds(session: Session, model: str | None, most: int = 12) -> list[str]:
    """Kinds of defect that people have named of a model's parts, or of all, the most frequent first."""
    row = InspectionRow
    query = select(row.kind).where(row.kind.is_not(None))
    if model is not None:
        query = query.where(row.model == model)
    found = session.scalars(query.group_by(row.kind).order_by(func.count().desc(), row.kind).limit(most))
    return [kind for kind in found if kind]


def add(
    session: Session,
    inspection: InspectionRow,
    label: str,
    by: str,
    why: str,
    kind: str | None,
    outline: list[Any] | None,
) -> ReviewRow:
    review = ReviewRow(
        inspection_id=inspection.id, label=label, kind=kind, by=by, at=now(), why=why, outline=outline
    )
    session.add(review)
    session.flush()
    _mark(inspection, review)
    return review


def undo(session: Session, review: ReviewRow, by: str) -> ReviewRow | None:
    """Take a review back; gives the one then in force. Raises Problem 409 where it is undone already."""
    if review.undone_at is not None:
        raise Problem(409, f"review {review.id} was undone by {review.undone_by}")
    review.undone_by, review.undone_at = by, now()
    session.flush()
    remaining = in_force(session, review.inspection_id)
    inspection = session.get(InspectionRow, review.inspection_id)
    assert inspection is not None
    _mark(inspection, remaining)
    return remaining


def _mark(inspection: InspectionRow, review: ReviewRow | None) -> None:
    inspection.label = review.label if review else None
    inspection.kind = review.kind if review else None
    inspection.review_id = review.id if review else None
    inspection.reviewed_by = review.by if review else None
    inspection.reviewed_at = review.at if review else None
