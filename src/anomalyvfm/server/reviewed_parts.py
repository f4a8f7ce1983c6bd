"""What versions say of the parts that people have reviewed: judged anew while no other part waits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import select

from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.server.decoding.pool import Decoders
from anomalyvfm.server.models.registry import ActiveVersion, Compared, ModelRegistry
from anomalyvfm.server.store import audit, versions
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import Files
from anomalyvfm.server.store.tables import InspectionRow

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector

_log = logging.getLogger(__name__)

_MOST = {"defect": 60, "good": 40}
_BUSY_SECONDS = 0.05


@dataclass
class _Judged:
    """Scores of a model's reviewed parts by one of its versions, by their image's hash."""

    version: int
    threshold: float
    scores: dict[str, float] = field(default_factory=dict)


class ReviewedParts:
    """The newest of each model's parts reviewed as good and as defects, each image once.

    After every new version and review a thread judges those the active version has not judged yet, one at a
    time and only while nothing waits to be judged; what changed from the version before is kept with it.
    """

    def __init__(
        self,
        database: Database,
        files: Files,
        registry: ModelRegistry,
        decoders: Decoders,
        is_busy: Callable[[], bool],
    ) -> None:
        self._database = database
        self._files = files
        self._registry = registry
        self._decoders = decoders
        self._is_busy = is_busy
        self._judged: dict[str, _Judged] = {}  # complete, by model
        self._changed = threading.Condition()
        self._to_do: list[str] = []
        self._at_work = self._closing = False
        self._thread = threading.Thread(target=self._judge_behind, name="reviewed")
        self._thread.start()

    def look_again(self, name: str) -> None:
        """There is a new version, or a review."""
        with self._changed:
            if name not in self._to_do:
                self._to_do.append(name)
            self._changed.notify_all()

    def settle(self) -> None:
        """Wait until all is judged."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or not (self._to_do or self._at_work))

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def defect_scores(self, name: str) -> list[float] | None:
        """Scores of the reviewed defects by the version that judges; None until they are known."""
        judged = self._judged.get(name)
        if judged is None or judged.version != self._registry.get(name).active.number:
            return None
        defects = self._images(name)["defect"]
        return [judged.scores[image] for image in defects if image in judged.scores]

    def compare(self, name: str, then: Detector) -> Compared:
        """What a detector would change, were it the next version. Waits for nobody."""
        active = self._registry.get(name).active
        labels = self._images(name)
        images = [image for group in labels.values() for image in group]
        now = self._judged.get(name)
        known = dict(now.scores) if now is not None and now.version == active.number else {}
        known |= self._scores(active.detector, [image for image in images if image not in known])
        return _compared(
            labels,
            _Judged(active.number, active.detector.calibration_.threshold, known),
            _Judged(0, then.calibration_.threshold, dict(self._scores(then, images))),
        )

    def _images(self, name: str) -> dict[str, list[str]]:
        """Hashes of the images of the newest parts of each label, each once."""
        row = InspectionRow
        found = {}
        with self._database.reading() as session:
            for label, most in _MOST.items():
                query = select(row.image).where(row.model == name, row.label == label)
                images = session.scalars(query.order_by(row.id.desc()).limit(2 * most))
                found[label] = list(dict.fromkeys(images))[:most]
        return found

    def _scores(self, detector: Detector, images: Iterable[str]) -> Iterator[tuple[str, float]]:
        """Images that are no longer kept are left out."""
        level = detector.settings.image.white_level
        for image in images:
            try:
                pixels = self._decoders.pixels(self._files.read(image), level).pixels
            except FileNotFoundError:
                continue
            for _, verdict in detector.judge([pixels]):
                if isinstance(verdict, Verdict):
                    yield image, verdict.score

    def _judge_behind(self) -> None:
        while True:
            with self._changed:
                self._at_work = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closing or self._to_do)
                if self._closing:
                    return
                name = self._to_do.pop(0)
                self._at_work = True
            try:
                self._judge(name)
            except Exception as error:  # the next version or review tries again
                _log.error("reviewed parts of %s were not judged: %s", name, " ".join(str(error).split()))

    def _judge(self, name: str) -> None:
        active = self._registry.get(name).active
        before = self._judged.get(name)
        labels = self._images(name)
        images = [image for group in labels.values() for image in group]
        judged = _Judged(active.number, active.detector.calibration_.threshold)
        if before is not None and (
            before.version == active.number or self._scores_alike(name, active, before)
        ):
            judged.scores = {image: score for image, score in before.scores.items() if image in images}
        for image in images:
            if image in judged.scores:
                continue
            while self._is_busy() and not self._closing:
                time.sleep(_BUSY_SECONDS)
            if self._closing:
                return
            if self._registry.get(name).active.number != active.number:
                self.look_again(name)
                return
            judged.scores.update(self._scores(active.detector, [image]))
        self._judged[name] = judged
        if before is not None and before.version != active.number:
            self._keep(name, _compared(labels, before, judged))

    def _scores_alike(self, name: str, active: ActiveVersion, before: _Judged) -> bool:
        """Whether the version is the same, or only the promise another: that moves the limit and no score."""
        if active.number == before.version:
            return True
        with self._database.reading() as session:
            row = versions.find_version(session, name, active.number)
        return row.action == "rate" and row.parent == before.version

    def _keep(self, name: str, compared: Compared) -> None:
        if not compared.defects + compared.good:
            return
        with self._database.writing() as session:
            row = versions.find_version(session, name, compared.then)
            row.compared = asdict(compared)
            if compared.caught_then < compared.caught_now:
                audit.note(session, "station", "catches less", f"{name} {row.number}", compared.in_words())


def _compared(labels: dict[str, list[str]], now: _Judged, then: _Judged) -> Compared:
    """Of images that both have judged."""

    def count(label: str) -> tuple[int, int, int]:
        both = [image for image in labels[label] if image in now.scores and image in then.scores]
        rejected = [sum(one.scores[image] > one.threshold for image in both) for one in (now, then)]
        return len(both), rejected[0], rejected[1]

    defects, caught_now, caught_then = count("defect")
    good, rejected_now, rejected_then = count("good")
    passed = good - rejected_now, good - rejected_then
    return Compared(now.version, then.version, defects, caught_now, caught_then, good, *passed)
