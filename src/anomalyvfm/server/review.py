"""Learning from review: what people say of a part becomes a new version of the model that judged it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from anomalyvfm.errors import InputError, NotLearnedError
from anomalyvfm.server.decoding.pool import Decoders
from anomalyvfm.server.events import Event, Events
from anomalyvfm.server.metrics import Metrics
from anomalyvfm.server.models.registry import Change, ModelRegistry, RegisteredModel, check_expected
from anomalyvfm.server.models.version_folders import gallery_name
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.recalibration import Recalibration
from anomalyvfm.server.reviewed_parts import ReviewedParts
from anomalyvfm.server.store import audit, inspections, reviews, versions
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import Files
from anomalyvfm.server.store.tables import InspectionRow, ReviewRow

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector


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
        self._files = files
        self._registry = registry
        self._decoders = decoders
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
    ) -> Reviewed:
        """Label an inspection, with the kind of a defect where it is known.

        With ``seen``, Problem 409 where another review is in force than that one.
        """
        if kind and label != "defect":
            raise Problem(422, f"kind: {label} parts have none; leave it out")
        with self._database.reading() as session:
            registered = self._registry.get(inspections.find(session, inspection_id).model)
        with registered.changing:
            with self._database.reading() as session:
                row = inspections.find(session, inspection_id)
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
                return reviews.add(session, found, label, by, why, kind or None)

            self._metrics.reviews.labels(label).inc()
            return self._apply(registered, row, label, by, why or f"part {row.id} is {label}", write)

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

            label = others[-1].label if others else None
            return self._apply(registered, row, label, by, f"review {review_id} was undone", write)

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
        by: str,
        why: str,
        write: Callable[[Session], ReviewRow | None],
    ) -> Reviewed:
        """Change the model as the label asks, and write the label, in one transaction."""
        started = time.perf_counter()
        in_force: list[ReviewRow | None] = []
        action, detector, message = self._taught(registered, row, label)
        if detector is None:
            with self._database.writing() as session:
                in_force.append(write(session))
            number = registered.active.number
        else:
            change = Change(
                action,
                by,
                why,
                row.id,
                added=row.image if action == "learn" else None,
                removed=row.image if action == "forget" else None,
            )
            number = self._registry.add_version(
                registered, detector, change, lambda session: in_force.append(write(session))
            )
            self._metrics.learning.observe(time.perf_counter() - started)
            self._recalibration.follow(registered.name)
        with self._database.reading() as session:
            inspection = inspections.as_dict(inspections.find(session, row.id))
        self._reviewed_parts.look_again(registered.name)
        self._events.publish(Event("review", {"inspection_id": row.id, "label": label, "by": by}))
        done = {"learn": "learned", "forget": "forgotten", "none": "none"}[action]
        return Reviewed(
            inspection,
            None if in_force[0] is None else reviews.as_dict(in_force[0]),
            {"action": done, "version": number, "message": message},
        )

    def _taught(
        self, registered: RegisteredModel, row: InspectionRow, label: str | None
    ) -> tuple[str, Detector | None, str]:
        """What the label asks of the model: the action, the changed copy if any, and a line for people."""
        with self._database.reading() as session:
            count = versions.taught(session, registered.name, registered.active.number)[row.image]
            anomalous = reviews.was_anomalous(session, row)
        if count > 0 and label != "good":
            return self._changed(registered, row, "forget")
        if (count < 0 and label != "defect") or (count == 0 and label == "good" and anomalous):
            return self._changed(registered, row, "learn")
        if count == 0 and label == "defect":
            # Most defects were never learned: the model says so before it computes anything.
            return self._changed(registered, row, "forget")
        return "none", None, "the model stays as it is"

    def _changed(
        self, registered: RegisteredModel, row: InspectionRow, action: str
    ) -> tuple[str, Detector | None, str]:
        detector = registered.active.detector.clone()
        try:
            content = self._files.read(row.image)
        except FileNotFoundError:
            return "none", None, "the image is no longer kept; the model stays as it is"
        image = self._decoders.pixels(content, detector.settings.image.white_level).pixels
        if action == "learn":
            detector.update([image], names=[gallery_name(row.id, row.name)])
            return action, detector, f"the model has learned part {row.id}"
        try:
            detector.forget([image])
        except NotLearnedError:
            return "none", None, "the model never learned it; the model stays as it is"
        except InputError as error:
            return "none", None, f"{error}; the model stays as it is"
        return action, detector, f"the model has forgotten part {row.id}"
