"""Batch jobs: images accepted now and judged when there is time, across restarts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from anomalyvfm.server.problems import Problem
from anomalyvfm.server.store.clock import iso, now
from anomalyvfm.server.store.tables import JobItemRow, JobRow


def add(
    session: Session,
    model: str,
    by: str,
    images: Sequence[tuple[str, str]],
    fields: Mapping[str, str] | None = None,
) -> int:
    """A job of (name, hash) images; its number."""
    job = JobRow(model=model, by=by, at=now(), fields=dict(fields) if fields else None)
    session.add(job)
    session.flush()
    session.add_all(
        JobItemRow(job_id=job.id, position=position, name=name, image=digest, state="waiting")
        for position, (name, digest) in enumerate(images)
    )
    return job.id


def find(session: Session, number: int) -> dict[str, Any]:
    """Raises Problem 404 for an unknown number."""
    job = session.get(JobRow, number) if 0 < number < 1 << 31 else None
    if job is None:
        raise Problem(404, f"job {number} is not here")
    return _with_counts(session, [job])[0]


def newest(session: Session, limit: int) -> list[dict[str, Any]]:
    return _with_counts(
        session, session.scalars(select(JobRow).order_by(JobRow.id.desc()).limit(limit)).all()
    )


def items(session: Session, number: int, offset: int, limit: int) -> list[dict[str, Any]]:
    query = select(JobItemRow).where(JobItemRow.job_id == number).order_by(JobItemRow.position)
    return [
        {
            "position": item.position,
            "name": item.name,
            "state": item.state,
            "inspection_id": item.inspection_id,
            "problem": item.problem,
        }
        for item in session.scalars(query.offset(offset).limit(limit))
    ]


def waiting(session: Session, limit: int) -> list[tuple[JobItemRow, JobRow]]:
    """The oldest images not judged yet, with their jobs."""
    query = select(JobItemRow, JobRow).join(JobRow, JobRow.id == JobItemRow.job_id)
    query = query.where(JobItemRow.state == "waiting").order_by(JobItemRow.id).limit(limit)
    return [(item, job) for item, job in session.execute(query)]


def count_waiting(session: Session, model: str | None = None) -> int:
    query = select(func.count()).select_from(JobItemRow).where(JobItemRow.state == "waiting")
    if model is not None:
        query = query.join(JobRow, JobItemRow.job_id == JobRow.id).where(JobRow.model == model)
    return session.scalar(query) or 0


def finish(session: Session, item_id: int, inspection_id: int | None, problem: str | None = None) -> None:
    item = session.get(JobItemRow, item_id)
    if item is not None:
        item.state = "failed" if inspection_id is None else "done"
        item.inspection_id = inspection_id
        item.problem = problem


def _with_counts(session: Session, jobs: Sequence[JobRow]) -> list[dict[str, Any]]:
    state = JobItemRow.state
    counts = {
        job_id: (total, done, failed)
        for job_id, total, done, failed in session.execute(
            select(
                JobItemRow.job_id,
                func.count(),
                func.sum(case((state == "done", 1), else_=0)),
                func.sum(case((state == "failed", 1), else_=0)),
            )
            .where(JobItemRow.job_id.in_([job.id for job in jobs]))
            .group_by(JobItemRow.job_id)
        )
    }
    described = []
    for job in jobs:
        total, done, failed = counts.get(job.id, (0, 0, 0))
        begun = done + failed
        described.append(
            {
                "id": job.id,
                "model": job.model,
                "by": job.by,
                "at": iso(job.at),
                "state": "done" if begun == total else "running" if begun else "waiting",
                "total": total,
                "done": done,
                "failed": failed,
            }
        )
    return described
