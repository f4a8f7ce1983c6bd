"""Learning from review: what people say of a part becomes a new version of the model that judged it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from anomalyvfm.server.decoding.pool import Decoders
from anomalyvfm.server.events import Event, Events
from anomalyvfm.server.metrics import Metrics
from anomalyvfm.server.models.registry import Change, ModelRegistry, RegisteredModel, check_expected
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.recalibration import Recalibration
from anomalyvfm.server.reviewed_parts import ReviewedParts
from anomalyvfm.server.store import audit, inspections, reviews
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import Files
from anomalyvfm.server.store.tables import InspectionRow, ReviewRow
from anomalyvfm.server.teaching import Taught, Teaching

_DONE = {
    "learn": "learned",
    "forget": "forgotten",
    "confirm": "confirmed",
    "take_back": "taken_back",
    "none": "none",
}
"""What the interface calls it."""


@dataclass(frozen=True)
class Reviewed:
    inspection: dict[str, Any]
    review: dict[str, Any] | None
    """In force now."""
    learning: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {"inspection": self.inspection, "review": self.review, "learning": self.learning}


class Learning:
    """Whoever changes a model holds its lock from reading the parent version to placing the child.

    Two people at once therefore make two versions, the second upon the first: neither's word is lost.
    Whether an image is learned is one fact for each content: where parts have the very same image, what was
    said last of any of them decides.
    """

    def __init__(
        self,
        database: Database,
        files: Files,
        registry: ModelRegistry,
        decoders: Decoders,
        recalibration: Recalibration,
        reviewed_parts: ReviewedParts,
        events: Events,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._registry = registry
        self._teaching = Teaching(database, files, decoders)
        self._recalibration = recalibration
        self._reviewed_parts = reviewed_parts
        self._events = events
        self._metrics = metrics

    def review(
        self,
        inspection_id: int,
        label: str,
        by: str,
        why: str = "",
        seen: int | None = None,
        kind: str | None = None,
        outline: Sequence[Sequence[Sequence[float]]] | None = None,
    ) -> Reviewed:
        """Label an inspection, with the kind of a defect where it is known, and its outline if it was drawn.

        With ``seen``, Problem 409 where another review is in force than that one.
        """
        drawn = [[[x, y] for x, y in polygon] for polygon in outline or ()] or None  # as JSON gives it back
        for name, given in (("kind", kind), ("outline", drawn)):
            if given and label != "defect":
                raise Problem(422, f"{name}: {label} parts have none; leave it out")
        with self._database.reading() as session:
            registered = self._registry.get(inspections.find(session, inspection_id).model)
        with registered.changing:
            with self._database.reading() as session:
                row = inspections.find(session, inspection_id)
            _require_inside(drawn or (), row)
            if seen is not None and seen != row.review_id:
                raise Problem(
                    409, f"{row.reviewed_by} has reviewed part {row.id} meanwhile; look again first"
                )

            def write(session: Session) -> ReviewRow | None:
                found = inspections.find(session, inspection_id)
                audit.note(
                    session,
                    by,
                    "review",
                    f"inspection {inspection_id}",
                    " ".join(filter(None, (label, kind, why))),
                )
                return reviews.add(session, found, label, by, why, kind or None, drawn)

            self._metrics.reviews.labels(label).inc()
            taught = self._teaching.taught(registered, row, label, drawn)
            return self._apply(registered, row, label, taught, by, why or f"part {row.id} is {label}", write)

    def undo(self, review_id: int, by: str) -> Reviewed:
        """Take a review back, and with it what the model learned from it."""
        with self._database.reading() as session:
            review = reviews.find(session, review_id)
            registered = self._registry.get(inspections.find(session, review.inspection_id).model)
        with registered.changing:
            with self._database.reading() as session:
                row = inspections.find(session, review.inspection_id)
                others = [other for other in reviews.of_content(session, row) if other.id != review_id]

            def write(session: Session) -> ReviewRow | None:
                audit.note(session, by, "undo", f"review {review_id}", f"of inspection {row.id}")
                return reviews.undo(session, reviews.find(session, review_id), by)

            label, outline = (others[-1].label, others[-1].outline) if others else (None, None)
            taught = self._teaching.taught(registered, row, label, outline)
            return self._apply(registered, row, label, taught, by, f"review {review_id} was undone", write)

    def set_rate(self, name: str, rate: float, by: str, why: str, expected: int | None) -> int:
        """A version with another false-alarm promise; its number."""
        registered = self._registry.get(name)
        with registered.changing:
            check_expected(registered, expected)
            detector = registered.active.detector.with_false_alarm_rate(rate)
            change = Change("rate", by, why or f"false-alarm promise of {rate:g}")
            return self._registry.add_version(registered, detector, change, lambda _: None)

    def _apply(
        self,
        registered: RegisteredModel,
        row: InspectionRow,
        label: str | None,
        taught: Taught,
        by: str,
        why: str,
        write: Callable[[Session], ReviewRow | None],
    ) -> Reviewed:
        """Make what the label has taught the next version, and write the label, in one transaction."""
        started = time.perf_counter()
        in_force: list[ReviewRow | None] = []
        if taught.detector is None or taught.change is None:
            with self._database.writing() as session:
                in_force.append(write(session))
            number = registered.active.number
        else:
            of = taught.change
            change = Change(
                of.action,
                by,
                why,
                row.id,
                added=row.image if of.added else None,
                removed=row.image if of.removed else None,
                outline=of.outline,
            )
            number = self._registry.add_version(
                registered, taught.detector, change, lambda session: in_force.append(write(session))
            )
            self._metrics.learning.observe(time.perf_counter() - started)
            self._recalibration.follow(registered.name)
        with self._database.reading() as session:
            inspection = inspections.as_dict(inspections.find(session, row.id))
        self._reviewed_parts.look_again(registered.name)
        self._events.publish(Event("review", {"inspection_id": row.id, "label": label, "by": by}))
        return Reviewed(
            inspection,
            None if in_force[0] is None else reviews.as_dict(in_force[0]),
            {"action": _DONE[taught.action], "version": number, "message": taught.message},
        )


def _require_inside(outline: Sequence[Sequence[Sequence[float]]], row: InspectionRow) -> None:
    for x, y in (corner for polygon in outline for corner in polygon):
        if not (0 <= x < row.width and 0 <= y < row.height):
            image = f"the image of {row.width}×{row.height} pixels"
            raise Problem(422, f"outline: corner {x:g}, {y:g} is outside {image}")
