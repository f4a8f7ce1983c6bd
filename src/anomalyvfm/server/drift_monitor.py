"""A drift test for each model, kept in step with the inspections it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from anomalyvfm.decision.drift import DriftTest
from anomalyvfm.errors import InputError
from anomalyvfm.server.store.clock import iso_or_none, now
from anomalyvfm.server.store.tables import DriftRow

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector


class Alarm(NamedTuple):
    on: bool
    raised: bool
    """Just now."""


class DriftMonitor:
    """The tests' states are written in the transaction of the inspections: a kill repeats or skips none.

    A test begins anew with the calibration, whose scores it compares with.
    """

    def __init__(self, images_between_alarms: float) -> None:
        self._images = images_between_alarms

    def add(
        self,
        session: Session,
        model: str,
        version: int,
        detector: Detector,
        scores: Sequence[float],
    ) -> Alarm:
        """Take in scores; there is no alarm where too little is known for a test."""
        row = session.get(DriftRow, model)
        test = self._test(row, detector)
        if test is None:
            return Alarm(False, False)
        before = row is not None and row.alarm_at is not None
        for score in scores:
            test.add(score)
        alarm = test.alarm_at is not None
        if row is None:
            row = DriftRow(model=model)
            session.add(row)
        row.version, row.state = version, test.as_dict()
        row.alarm_at = (row.alarm_at or now()) if alarm else None
        return Alarm(alarm, alarm and not before)

    def reset(self, session: Session, model: str, false_alarm: bool) -> None:
        """Begin anew after an alarm."""
        row = session.get(DriftRow, model)
        if row is not None:
            test = DriftTest.from_dict(row.state)
            test.reset(false_alarm)
            row.state, row.alarm_at = test.as_dict(), None

    def _test(self, row: DriftRow | None, detector: Detector) -> DriftTest | None:
        if row is not None:
            test = DriftTest.from_dict(row.state)
            if test.threshold == detector.calibration_.threshold:
                return test
            row.alarm_at = None
        try:
            return detector.drift_test(self._images)
        except InputError:  # a handful of calibration images: nothing to compare with
            return None


def alarms(session: Session) -> dict[str, bool]:
    """Of each model that has a test, whether drift is reported."""
    return {row.model: row.alarm_at is not None for row in session.scalars(select(DriftRow))}


def describe(session: Session, model: str) -> dict[str, Any] | None:
    """The state of a model's test in plain words, or None where there is none."""
    row = session.get(DriftRow, model)
    if row is None:
        return None
    test = DriftTest.from_dict(row.state)
    return {
        **test.summary(),
        "since": iso_or_none(row.alarm_at),
        "statistic": test.evidence,
        "message": test.describe(),
    }
