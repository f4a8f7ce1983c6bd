"""What a shift, a lot or a day came to: counts by who the parts are, the worst parts, alarms, versions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from anomalyvfm.line.fields import FIELDS
from anomalyvfm.server.store import refusals
from anomalyvfm.server.store.clock import iso
from anomalyvfm.server.store.inspections import InspectionFilter, as_dict, fields_of
from anomalyvfm.server.store.tables import AuditRow, DriftRow, InspectionRow, VersionRow

_WORST = 10
_GROUPS = 50
"""Values of a field that are told apart; of serial numbers there may be as many as parts."""
_GROUPED_BY = tuple(field for field in FIELDS if field != "serial")


def compile_report(session: Session, wanted: InspectionFilter) -> dict[str, Any]:
    """Of the inspections, refusals, alarms and versions of a time.

    The worst parts are the oddest rejected ones by score ÷ threshold, which compares parts of several models.
    """
    row = InspectionRow
    conditions = wanted.conditions()
    rejected = func.sum(case((row.anomalous, 1), else_=0))
    total, anomalous = session.execute(select(func.count(), rejected).where(*conditions)).one()
    labels = select(row.label, row.anomalous, func.count()).where(*conditions, row.label.is_not(None))
    reviewed = session.execute(labels.group_by(row.label, row.anomalous)).all()
    by_version = select(row.model, row.version, func.count(), rejected).where(*conditions)
    versions = session.execute(
        by_version.group_by(row.model, row.version).order_by(row.model, row.version)
    ).all()
    oddness = row.score / func.nullif(row.threshold, 0)
    worst = select(row).where(*conditions, row.anomalous).order_by(oddness.desc(), row.id).limit(_WORST)
    return {
        "inspections": total,
        **_share(total, anomalous or 0),
        "reviewed": sum(count for _, _, count in reviewed),
        "false_alarms": sum(count for label, odd, count in reviewed if label == "good" and odd),
        "missed": sum(count for label, odd, count in reviewed if label == "defect" and not odd),
        "groups": {
            field: groups
            for field in _GROUPED_BY
            if field not in wanted.fields and (groups := _groups(session, field, conditions, rejected))
        },
        "versions": [
            {"model": model, "version": version, "inspections": count, **_share(count, odd)}
            for model, version, count, odd in versions
        ],
        "worst": [as_dict(part) for part in session.scalars(worst)],
        "refused": refusals.count_by_reason(session, wanted),
        "events": _events(session, wanted),
    }


def _share(total: int, anomalous: int) -> dict[str, Any]:
    return {"anomalous": anomalous, "defect_rate": anomalous / total if total else None}


def _groups(session: Session, field: str, conditions: list[Any], rejected: Any) -> list[dict[str, Any]]:
    column = fields_of(InspectionRow)[field]
    query = select(column, func.count(), rejected).where(*conditions, column.is_not(None))
    rows = session.execute(query.group_by(column).order_by(func.count().desc(), column).limit(_GROUPS))
    return [{"value": value, "inspections": count, **_share(count, odd)} for value, count, odd in rows]


def _events(session: Session, wanted: InspectionFilter) -> list[dict[str, Any]]:
    """Alarms of drift that were raised or settled, and versions that were made, the oldest first."""
    alarms = session.scalars(select(DriftRow).where(*_during(DriftRow.alarm_at, wanted)))
    found = [(row.alarm_at, "drift", row.model, 0) for row in alarms if row.alarm_at is not None]
    settled = select(AuditRow).where(AuditRow.action == "reset drift", *_during(AuditRow.at, wanted))
    found += [(row.at, "drift settled", row.object, 0) for row in session.scalars(settled)]
    made = session.scalars(select(VersionRow).where(*_during(VersionRow.at, wanted)))
    found += [(row.at, row.action, row.model, row.number) for row in made]
    return [
        {"at": iso(at), "what": what, "model": model, "version": version or None}
        for at, what, model, version in sorted(found)
        if wanted.model in (None, model)
    ]


def _during(column: Any, wanted: InspectionFilter) -> list[Any]:
    after = [] if wanted.since is None else [column >= wanted.since]
    return after if wanted.until is None else [*after, column < wanted.until]
