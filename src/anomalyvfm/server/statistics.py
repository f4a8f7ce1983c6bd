"""How many parts, how many defective, what scores, over time."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
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
    version: int | None,
    since: float | None,
    until: float | None,
    bucket: Bucket,
    threshold: float | None,
    zone: tzinfo,
) -> dict[str, Any]:
    """Counts of inspections and reviews, by hour or day of the zone, and a histogram of the newest scores."""
    row = InspectionRow
    wanted = InspectionFilter(model=model, version=version, since=since, until=until).conditions()
    counted = func.sum(case((row.anomalous, 1), else_=0))
    total, anomalous = session.execute(select(func.count(), counted).select_from(row).where(*wanted)).one()
    reviewed = {"good": 0, "defect": 0, "unsure": 0}
    false_alarms = missed = 0
    labels = select(row.label, row.anomalous, func.count()).where(*wanted, row.label.is_not(None))
    for label, alarmed, count in session.execute(labels.group_by(row.label, row.anomalous)):
        reviewed[str(label)] += count
        false_alarms += count * (label == "good" and alarmed)
        missed += count * (label == "defect" and not alarmed)
    # By time, whose index knows where they begin: by number, a short time is looked for in all rows.
    newest = select(row.score).where(*wanted).order_by(row.at.desc()).limit(_LAST_SCORES)
    scores = np.array(session.scalars(newest).all())
    return {
        "model": model,
        "version": version,
        "inspections": total,
        "anomalous": anomalous or 0,
        "defect_rate": (anomalous or 0) / total if total else None,
        "reviewed": reviewed,
        "false_alarms": false_alarms,
        "missed": missed,
        "buckets": _buckets(session, wanted, counted, bucket, zone),
        "scores": len(scores),
        "histogram": _histogram(scores),
        "threshold": threshold,
        "drift": None if model is None else drift_monitor.describe(session, model),
    }


def bucket_start(seconds: float, bucket: Bucket, zone: tzinfo) -> datetime:
    """When the hour or day of a time begins in the zone."""
    at = datetime.fromtimestamp(seconds, zone)
    start = at.replace(minute=0, second=0, microsecond=0)
    # In local time, in which an hour that comes twice differs by its fold alone: it stays as it is.
    return start if bucket == "hour" else start.replace(hour=0, fold=0)


def _buckets(
    session: Session, wanted: list[Any], counted: Any, bucket: Bucket, zone: tzinfo
) -> list[dict[str, Any]]:
    row = InspectionRow
    # Hours of some zones begin at a quarter or half past.
    after = row.at - row.hour * 3600.0
    quarter = case((after >= 2700, 3), (after >= 1800, 2), (after >= 900, 1), else_=0)
    query = select(row.hour, quarter, func.count(), counted, func.sum(row.score)).where(*wanted)
    sums: dict[float, list[float]] = {}
    for hour, part, count, anomalous, score in session.execute(
        query.group_by(row.hour, quarter).order_by(row.hour, quarter)
    ):
        start = bucket_start(hour * 3600 + part * 900, bucket, zone).timestamp()
        into = sums.setdefault(start, [0, 0, 0.0])
        into[0] += count
        into[1] += anomalous
        into[2] += score
    return [
        {
            "start": iso(start),
            "inspections": int(count),
            "anomalous": int(anomalous),
            "defect_rate": anomalous / count,
            "mean_score": score / count,
        }
        for start, (count, anomalous, score) in sums.items()
    ]


def _histogram(scores: NDArray[np.float64]) -> dict[str, list[float]]:
    if not len(scores):
        return {"edges": [], "counts": []}
    counts, edges = np.histogram(scores, bins=_BINS)
    return {"edges": [round(float(edge), 4) for edge in edges], "counts": counts.tolist()}
