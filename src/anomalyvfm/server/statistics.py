"""How many parts, how many defective, what scores, over time."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from anomalyvfm.server import drift_monitor
from anomalyvfm.server.store.clock import iso
from anomalyvfm.server.store.inspections import InspectionFilter
from anomalyvfm.server.store.tables import InspectionRow

_LAST_SCORES = 5000
_BINS = 40

Bucket = Literal["hour", "day"]


def summarize(
    session: Session,
    model: str | None,
    since: float | None,
    until: float | None,
    bucket: Bucket,
    threshold: float | None,
) -> dict[str, Any]:
    """Counts of inspections and reviews, by hour or day in UTC, and a histogram of the newest scores."""
    row = InspectionRow
    wanted = InspectionFilter(model=model, since=since, until=until).conditions()
    counted = func.sum(case((row.anomalous, 1), else_=0))
    total, anomalous = session.execute(select(func.count(), counted).select_from(row).where(*wanted)).one()
    reviewed = {"good": 0, "defect": 0, "unsure": 0}
    false_alarms = missed = 0
    labels = select(row.label, row.anomalous, func.count()).where(*wanted, row.label.is_not(None))
    for label, alarmed, count in session.execute(labels.group_by(row.label, row.anomalous)):
        reviewed[str(label)] += count
        false_alarms += count * (label == "good" and alarmed)
        missed += count * (label == "defect" and not alarmed)
    return {
        "model": model,
        "inspections": total,
        "anomalous": anomalous or 0,
        "defect_rate": (anomalous or 0) / total if total else None,
        "reviewed": reviewed,
        "false_alarms": false_alarms,
        "missed": missed,
        "buckets": _buckets(session, wanted, counted, bucket),
        "histogram": _histogram(session, wanted),
        "threshold": threshold,
        "drift": None if model is None else drift_monitor.describe(session, model),
    }


def _buckets(session: Session, wanted: list[Any], counted: Any, bucket: Bucket) -> list[dict[str, Any]]:
    row = InspectionRow
    hours = 24 if bucket == "day" else 1
    query = select(row.hour, func.count(), counted, func.sum(row.score)).where(*wanted)
    sums: dict[int, list[float]] = {}
    for hour, count, anomalous, score in session.execute(query.group_by(row.hour).order_by(row.hour)):
        into = sums.setdefault(hour // hours * hours, [0, 0, 0.0])
        into[0] += count
        into[1] += anomalous
        into[2] += score
    return [
        {
            "start": iso(hour * 3600),
            "inspections": int(count),
            "anomalous": int(anomalous),
            "defect_rate": anomalous / count,
            "mean_score": score / count,
        }
        for hour, (count, anomalous, score) in sums.items()
    ]


def _histogram(session: Session, wanted: list[Any]) -> dict[str, list[float]]:
    query = select(InspectionRow.score).where(*wanted).order_by(InspectionRow.id.desc()).limit(_LAST_SCORES)
    scores = np.array(session.scalars(query).all())
    if not len(scores):
        return {"edges": [], "counts": []}
    counts, edges = np.histogram(scores, bins=_BINS)
    return {"edges": [round(float(edge), 4) for edge in edges], "counts": counts.tolist()}
