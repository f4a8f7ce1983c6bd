"""New calibrations from review: made by hand, or by themselves where they pass no reviewed defect."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute

from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.server.decoding.pool import Decoders
from anomalyvfm.server.models.registry import Change, HeldBack, ModelRegistry
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.store import audit, versions
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import Files
from anomalyvfm.server.store.tables import InspectionRow

if TYPE_CHECKING:
    from anomalyvfm.decision.calibration import Calibration
    from anomalyvfm.detector import Detector

_log = logging.getLogger(__name__)

_MOST_CALIBRATION_IMAGES = 500
_MOST_DEFECTS = 200


class Recalibration:
    """Sampled parts that review found good calibrate; what would pass reviewed defects waits for a person."""

    def __init__(self, database: Database, files: Files, registry: ModelRegistry, decoders: Decoders) -> None:
        self._database = database
        self._files = files
        self._registry = registry
        self._decoders = decoders
        self._following: dict[str, threading.Thread] = {}

    def recalibrate(self, name: str, by: str, why: str) -> int:
        """Calibrate on the sampled parts that review found good; the new version's number.

        Sampled parts are chosen without regard to their score, as those that raised an alarm are not, so
        the promise holds for good parts as they come. Those the model has learned are first forgotten by
        the copy that scores them. Raises Problem 409 where there are fewer than the promise needs, each that
        looks like others counted with these as one.
        """
        found, _ = self._calibrated(name)
        return self._replace_calibration(name, found, by, why)

    def follow(self, name: str) -> None:
        """Let the calibration follow in the background where there are images for it."""
        running = self._following.get(name)
        if running is not None and running.is_alive():
            return
        needed = self._registry.get(name).active.detector.calibration_.images_needed
        if len(self._sampled_good(name)) < needed:
            return

        def follow() -> None:
            try:
                found, good = self._calibrated(name)
                held_back = self._passes_defects(name, found, good)
                if held_back is None:
                    why = "follows what was learned from review"
                    self._replace_calibration(name, found, "station", why)
                else:
                    self._hold_back(name, held_back)
            except Exception as error:  # reviews go on; the older calibration errs towards fewer alarms
                _log.error("%s was not recalibrated: %s", name, " ".join(str(error).split()))

        self._following[name] = threading.Thread(target=follow, name="calibrate")
        self._following[name].start()

    def close(self) -> None:
        for thread in list(self._following.values()):
            thread.join()

    def _calibrated(self, name: str) -> tuple[Calibration, list[Any]]:
        """A calibration on the sampled good parts, and their pixels."""
        current = self._registry.get(name).active
        images = self._sampled_good(name)
        needed = current.detector.calibration_.images_needed
        if len(images) < needed:
            raise Problem(
                409,
                f"{len(images)} sampled parts of {name} were reviewed as good; the promise needs {needed}",
            )
        with self._database.reading() as session:
            taught = versions.taught(session, name, current.number)
        level = current.detector.settings.image.white_level
        decoded = {image: self._decoders.pixels(self._files.read(image), level).pixels for image in images}
        learned = [pixels for image, pixels in decoded.items() if taught[image] > 0]
        # The sums are copied, and what is derived from them made anew, only where they change.
        scorer = current.detector.clone().forget(learned) if learned else copy.copy(current.detector)
        found = scorer.calibrate(list(decoded.values())).calibration_
        if not found.promised:
            raise Problem(
                409,
                f"the {len(images)} sampled parts of {name} that were reviewed as good are of"
                f" {found.independent} groups, each alike in itself; the promise needs {needed}",
            )
        return found, list(decoded.values())

    def _replace_calibration(self, name: str, found: Calibration, by: str, why: str) -> int:
        registered = self._registry.get(name)
        with registered.changing:  # the model may have learned meanwhile; scores only fall by that
            detector = registered.active.detector.with_calibration(found)
            change = Change("calibrate", by, why)
            registered.held_back = None
            return self._registry.add_version(registered, detector, change, lambda _: None)

    def _passes_defects(self, name: str, found: Calibration, good: Sequence[Any]) -> HeldBack | None:
        """What a calibration would do, where it would pass parts reviewed as defects that are caught now.

        One good part that is a defect, marked so by mistake, moves the limit far enough for that: nobody
        has asked for it, so nobody would look.
        """
        now = self._registry.get(name).active.detector
        then = now.with_calibration(found)
        row = InspectionRow
        level = now.settings.image.white_level
        defects = []
        for image in self._newest(_MOST_DEFECTS, row.model == name, row.label == "defect"):
            with suppress(FileNotFoundError):  # no longer kept
                defects.append(self._decoders.pixels(self._files.read(image), level).pixels)
        caught = [_rejected(detector, defects) for detector in (now, then)]
        if caught[1] >= caught[0]:
            return None
        passed = [len(good) - _rejected(detector, good) for detector in (now, then)]
        return HeldBack(len(defects), caught[0], caught[1], len(good), passed[0], passed[1])

    def _hold_back(self, name: str, held_back: HeldBack) -> None:
        registered = self._registry.get(name)
        if registered.held_back != held_back:
            detail = (
                f"of {held_back.defects} reviewed defects {held_back.caught_then} would be caught instead of"
                f" {held_back.caught_now}, and of {held_back.good} good parts {held_back.passed_then} would"
                f" pass instead of {held_back.passed_now}"
            )
            with self._database.writing() as session:
                audit.note(session, "station", "calibration held back", name, detail)
        registered.held_back = held_back

    def _sampled_good(self, name: str) -> list[str]:
        """Hashes of the newest sampled parts that review found good, each once."""
        row = InspectionRow
        return self._newest(_MOST_CALIBRATION_IMAGES, row.model == name, row.sampled, row.label == "good")

    def _newest(self, most: int, *wanted: ColumnElement[bool] | InstrumentedAttribute[bool]) -> list[str]:
        """Hashes of the images of the newest parts that are wanted, each once."""
        row = InspectionRow
        with self._database.reading() as session:
            found = session.scalars(select(row.image).where(*wanted).order_by(row.id.desc()).limit(most))
            return list(dict.fromkeys(found))


def _rejected(detector: Detector, images: Sequence[Any]) -> int:
    verdicts = (verdict for _, verdict in detector.judge(images))
    return sum(isinstance(verdict, Verdict) and verdict.anomalous for verdict in verdicts)
