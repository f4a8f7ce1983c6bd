"""Models and their versions, as rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
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
    """What review has changed on the way to a version: 1 for an image learned, -1 for one forgotten.

    A confirmed defect is none of both, but for what came of it beside.
    """
    images: Counter[str] = Counter()
    for row in _way_to(session, model, number):
        if row.added and row.action != "confirm":
            images[row.added] += 1
        if row.removed and row.action != "take_back":
            images[row.removed] -= 1
    return images


def confirmed(session: Session, model: str, number: int) -> dict[str, list[Any] | None]:
    """Images in which review has confirmed a defect on the way to a version, with its outline or None."""
    newest: dict[str, VersionRow] = {}
    for row in _way_to(session, model, number):
        image = {"confirm": row.added, "take_back": row.removed}.get(row.action)
        if image:
            newest.setdefault(image, row)
    return {image: row.outline for image, row in newest.items() if row.action == "confirm"}


def _way_to(session: Session, model: str, number: int) -> Iterator[VersionRow]:
    """A version, its parent, that one's parent, and so on."""
    rows = {row.number: row for row in session.scalars(select(VersionRow).where(VersionRow.model == model))}
    step: int | None = number
    while step is not None:
        yield rows[step]
        step = rows[step].parent
