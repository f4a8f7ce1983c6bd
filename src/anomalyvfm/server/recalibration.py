"""New calibrations from review: made by hand, or by themselves where they pass no reviewed defect."""

from __future__ import annotations

import logging
import threading
from dataclasses import asdict, replace

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from anomalyvfm.decision.calibration import Calibration, score_threshold
from anomalyvfm.server.decoding.pool import Decoders
from anomalyvfm.server.models.registry import Change, HeldBack, ModelRegistry
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.reviewed_parts import ReviewedParts
from anomalyvfm.server.store import audit, versions
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import Files
from anomalyvfm.server.store.tables import InspectionRow

_log = logging.getLogger(__name__)

_MOST_CALIBRATION_IMAGES = 500
# Of the false-alarm rate.
_EXPLAINED_BY_CHANCE = 0.01


class Recalibration:
    """Sampled parts that review found good calibrate; what would pass reviewed defects waits for a person."""

    def __init__(
        self,
        database: Database,
        files: Files,
        registry: ModelRegistry,
        decoders: Decoders,
        reviewed_parts: ReviewedParts,
    ) -> None:
        self._database = database
        self._files = files
        self._registry = registry
        self._decoders = decoders
        self._reviewed_parts = reviewed_parts
        self._following: dict[str, threading.Thread] = {}

    def recalibrate(self, name: str, by: str, why: str) -> int:
        """Calibrate on the sampled parts that review found good; the new version's number.

        Sampled parts are chosen without regard to their score, as those that raised an alarm are not, so
        the promise holds for good parts as they come. Those the model has learned are first forgotten by
        the copy that scores them. Raises Problem 409 where there are fewer than the promise needs, each that
        looks like others counted with these as one.
        """
        found = self._calibrated(name)
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
                found = self._calibrated(name)
                held_back = self._why_not(name, found)
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

    def _calibrated(self, name: str) -> Calibration:
        """A calibration on the sampled good parts."""
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
        scorer = current.detector.clone()
        if learned:
            scorer.forget(learned)
        found = scorer.calibrate(list(decoded.values())).calibration_
        if not found.promised:
            raise Problem(
                409,
                f"the {len(images)} sampled parts of {name} that were reviewed as good are of"
                f" {found.independent} groups, each alike in itself; the promise needs {needed}",
            )
        return found

    def _replace_calibration(self, name: str, found: Calibration, by: str, why: str) -> int:
        registered = self._registry.get(name)
        with registered.changing:  # the model may have learned meanwhile; scores only fall by that
            detector = registered.active.detector.with_calibration(found)
            change = Change("calibrate", by, why)
            number = self._registry.add_version(
                registered, detector, change, lambda session: _keep(session, name, None)
            )
            registered.held_back = None
            return number

    def _why_not(self, name: str, found: Calibration) -> HeldBack | None:
        """What speaks against a calibration that nobody has asked for, so that nobody would look.

        One good part that is a defect, marked so by mistake, moves the limit far enough for that.
        """
        now = self._registry.get(name).active.detector
        compared = self._reviewed_parts.compare(name, now.with_calibration(found))
        moves_far = _moves_far(now.calibration_, found)
        if compared.caught_then >= compared.caught_now and not moves_far:
            return None
        return HeldBack(**asdict(compared), moves_far=moves_far)

    def _hold_back(self, name: str, held_back: HeldBack) -> None:
        registered = self._registry.get(name)
        if registered.held_back != held_back:
            far = "; the limit would rise further than chance explains" * held_back.moves_far
            with self._database.writing() as session:
                audit.note(session, "station", "calibration held back", name, held_back.in_words() + far)
                _keep(session, name, held_back)
        registered.held_back = held_back

    def _sampled_good(self, name: str) -> list[str]:
        """Hashes of the newest sampled parts that review found good, each once."""
        row = InspectionRow
        query = select(row.image).where(row.model == name, row.sampled, row.label == "good")
        with self._database.reading() as session:
            newest = session.scalars(query.order_by(row.id.desc()).limit(_MOST_CALIBRATION_IMAGES))
            return list(dict.fromkeys(newest))


def _keep(session: Session, name: str, held_back: HeldBack | None) -> None:
    versions.find_model(session, name).held_back = None if held_back is None else asdict(held_back)


def _moves_far(now: Calibration, found: Calibration) -> bool:
    """Whether the limit rises to where even a hundredth of the false-alarm rate would not put it.

    The scores that the new limit is made of are put on the scale of today's calibration.
    """
    scores = np.sort(now.score(found.image_scores))
    limit = score_threshold(scores, now.false_alarm_rate)
    return limit > replace(now, false_alarm_rate=now.false_alarm_rate * _EXPLAINED_BY_CHANCE).threshold
