"""Inspections: their rows as plain data, filtered and page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from anomalyvfm.line.fields import FIELDS
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.store.clock import iso, iso_or_none
from anomalyvfm.server.store.tables import GoodPatchRow, InspectionRow

Label = Literal["good", "defect", "unsure"]


@dataclass(frozen=True)
class InspectionFilter:
    """What inspections must be; None: anything. Times are seconds since 1970."""

    model: str | None = None
    version: int | None = None
    anomalous: bool | None = None
    label: Literal["good", "defect", "unsure", "none"] | None = None
    sampled: bool | None = None
    since: float | None = None
    until: float | None = None
    min_score: float | None = None
    max_score: float | None = None
    name: str | None = None
    """What the name holds, anywhere; capitals do not count."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Who the parts are: by field, as they were sent."""

    def conditions(self) -> list[ColumnElement[bool]]:
        row = InspectionRow
        found: list[ColumnElement[bool]] = []
        for column, value in (
            (row.model, self.model),
            (row.version, self.version),
            (row.anomalous, self.anomalous),
            (row.sampled, self.sampled),
        ):
            if value is not None:
                found.append(column == value)
        if self.label is not None:
            found.append(row.label.is_(None) if self.label == "none" else row.label == self.label)
        if self.since is not None:
            found.append(row.at >= self.since)
        if self.until is not None:
            found.append(row.at < self.until)
        if self.min_score is not None:
            found.append(row.score >= self.min_score)
        if self.max_score is not None:
            found.append(row.score <= self.max_score)
        for name, value in self.fields.items():
            found.append(fields_of(row)[name] == value)
        if self.name is not None:
            found.append(row.name.icontains(self.name, autoescape=True))
        return found


def as_dict(row: InspectionRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "at": iso(row.at),
        "model": row.model,
        "version": row.version,
        "name": row.name,
        "fields": {name: value for name, value in fields_of(row).items() if value is not None},
        "score": row.score,
        "p_value": row.p_value,
        "threshold": row.threshold,
        "promised": row.promised,
        "light": row.light,
        "anomalous": row.anomalous,
        "regions": row.regions,
        "width": row.width,
        "height": row.height,
        "ms": row.ms,
        "sha256": row.image,
        "by": row.by,
        "sampled": row.sampled,
        "label": row.label,
        "kind": row.kind,
        "reviewed_by": row.reviewed_by,
        "reviewed_at": iso_or_none(row.reviewed_at),
        "review_id": row.review_id,
    }


def fields_of(row: Any) -> dict[str, Any]:
    """A row's fields, or the columns that hold them."""
    return {name: getattr(row, name) for name in FIELDS}


def find(session: Session, number: int) -> InspectionRow:
    """Raises Problem 404 for an unknown number."""
    row = session.get(InspectionRow, number) if 0 < number < 1 << 31 else None
    if row is None:
        raise Problem(404, f"inspection {number} is not here; it may have been deleted by its age")
    return row


def good_patch(session: Session, number: int, region: int) -> GoodPatchRow:
    """Raises Problem 404 where a region, from 1, has none."""
    row = session.get(GoodPatchRow, (number, region))
    if row is None:
        raise Problem(404, f"odd place {region} of inspection {number} is not here, or has no good patch")
    return row


def newest(
    session: Session,
    wanted: InspectionFilter,
    before: int | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Sequence[InspectionRow]:
    """Newest first, with numbers below ``before``, or the ``limit`` closest above ``after``."""
    query = select(InspectionRow).where(*wanted.conditions())
    if before is not None:
        query = query.where(InspectionRow.id < before)
    if after is not None:
        query = query.where(InspectionRow.id > after)
        if before is None:
            return session.scalars(query.order_by(InspectionRow.id).limit(limit)).all()[::-1]
    return session.scalars(query.order_by(InspectionRow.id.desc()).limit(limit)).all()


def oldest_first(
    session: Session, wanted: InspectionFilter, after: int = 0, page: int = 500
) -> Iterator[InspectionRow]:
    """All of them, read page by page, so that memory does not grow with their number."""
    query = select(InspectionRow).where(*wanted.conditions()).order_by(InspectionRow.id).limit(page)
    while rows := session.scalars(query.where(InspectionRow.id > after)).all():
        after = rows[-1].id
        yield from rows
        session.expunge_all()


def to_review(session: Session, model: str | None, limit: int) -> tuple[Sequence[InspectionRow], int]:
    """The oldest that a person should see, and how many there are: anomalous or sampled, with no label."""
    row = InspectionRow
    wanted = and_(row.label.is_(None), or_(row.anomalous, row.sampled))
    if model is not None:
        wanted = and_(wanted, row.model == model)
    found = session.scalars(select(row).where(wanted).order_by(row.id).limit(limit)).all()
    return found, session.scalar(select(func.count()).select_from(row).where(wanted)) or 0


def last_scores(session: Session, model: str, last: int) -> list[float]:
    query = select(InspectionRow.score).where(InspectionRow.model == model)
    return list(session.scalars(query.order_by(InspectionRow.id.desc()).limit(last)))
