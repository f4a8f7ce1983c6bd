"""The station: everything it consists of, and what may be asked of it."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from sqlalchemy.orm import Session

from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.errors import InputError
from anomalyvfm.files import unwritable
from anomalyvfm.server import drift_monitor, statistics
from anomalyvfm.server.decoding.pool import Decoders
from anomalyvfm.server.drift_monitor import DriftMonitor
from anomalyvfm.server.events import Events
from anomalyvfm.server.inspections.batching import Batcher, Part
from anomalyvfm.server.inspections.job_runner import JobRunner
from anomalyvfm.server.inspections.recorder import Recorder
from anomalyvfm.server.inspections.thumbnails import Thumbnails
from anomalyvfm.server.inspections.verdicts import exhibit, restore
from anomalyvfm.server.metrics import Metrics
from anomalyvfm.server.models import importing
from anomalyvfm.server.models.registry import ModelRegistry
from anomalyvfm.server.models.version_folders import Loader, VersionFolders
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.review import Learning
from anomalyvfm.server.settings import Settings
from anomalyvfm.server.store import audit, inspections, jobs, retention, versions
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import Files
from anomalyvfm.server.store.inspections import InspectionFilter
from anomalyvfm.server.store.tables import InspectionRow

_log = logging.getLogger(__name__)

_TIDY_SECONDS = 600.0


class Station:
    """Opened over a folder of its own, by one process at a time; :meth:`close` finishes what was accepted.

    Raises InputError where the folder is in use or unwritable, the database does not answer, or there is
    no model.
    """

    def __init__(self, settings: Settings, models: Sequence[Path], load: Loader) -> None:
        self.settings = settings
        self._lock = _take(settings.data)
        self.metrics = Metrics()
        self.events = Events()
        self.database = Database(settings.database_url)
        self.files = Files(settings.data / "files")
        self.decoders = Decoders(settings.decoders, settings.limits)
        self.version_folders = VersionFolders(
            settings.data / "models",
            self.database,
            self.files,
            load,
            lambda content, level: self.decoders.pixels(content, level).pixels,
        )
        self.registry = ModelRegistry(self.version_folders, self.database, load)
        self.registry.open(models)  # before any file goes: versions are made again from some
        self._sweep(older_than=0)
        with self.database.reading() as session:
            for name, on in drift_monitor.alarms(session).items():
                self.metrics.drift.labels(name).set(on)
        self.thumbnails = Thumbnails(settings.data / "thumbnails", self.files, self.decoders)
        self._recorder = Recorder(
            self.database, self.files, self.thumbnails, self.events, self.metrics, settings
        )
        self.batcher = Batcher(self.registry, self._recorder.record, settings, self.metrics)
        self.learning = Learning(
            self.database, self.files, self.registry, self.decoders, self.events, self.metrics
        )
        self._job_runner = JobRunner(
            self.database, self.files, self.decoders, self.batcher, settings, self.white_level
        )
        self._closing = threading.Event()
        self._tidier = threading.Thread(target=self._tidy_now_and_then, name="tidy")
        self._tidier.start()

    def close(self) -> None:
        """Finish what was accepted, then let go of everything."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._job_runner.close()
        self.batcher.close()
        self.learning.close()
        self.version_folders.close()
        self._tidier.join()
        self._recorder.close()
        self.decoders.close()
        self.database.close()
        self._lock.close()

    # ── judging ─────────────────────────────────────────────────────────────────────────────────────

    def submit(self, content: bytes, model: str | None, name: str, by: str) -> Future[dict[str, Any]]:
        """Decode and queue an image, within the batcher's places; the future gives its inspection."""
        model = self.model_name(model)
        decoded = self.decoders.pixels(content, self.white_level(model))
        part = Part(model, plain_name(name), by, content, decoded.pixels, decoded.thumbnail)
        self.batcher.submit(part)
        return part.answer

    def add_job(self, images: Sequence[tuple[str, bytes]], model: str | None, by: str) -> dict[str, Any]:
        """Accept images to be judged when there is time; they are on the disk when this returns."""
        model = self.model_name(model)
        named = [(plain_name(name), content) for name, content in images]
        return self.job(self._job_runner.accept(named, model, by))

    def job(self, number: int) -> dict[str, Any]:
        with self.database.reading() as session:
            return jobs.find(session, number)

    def jobs(self, limit: int = 50) -> list[dict[str, Any]]:
        with self.database.reading() as session:
            return jobs.newest(session, limit)

    def job_items(self, number: int, offset: int, limit: int) -> list[dict[str, Any]]:
        with self.database.reading() as session:
            jobs.find(session, number)
            return jobs.items(session, number, offset, limit)

    # ── inspections ─────────────────────────────────────────────────────────────────────────────────

    def inspections(
        self,
        wanted: InspectionFilter | None = None,
        before: int | None = None,
        after: int | None = None,
        limit: int = 50,
    ) -> list[dict[str, Any]]:
        """Newest first; with ``after`` alone, the closest above it."""
        with self.database.reading() as session:
            rows = inspections.newest(session, wanted or InspectionFilter(), before, after, limit)
            return [inspections.as_dict(row) for row in rows]

    def inspection(self, number: int) -> dict[str, Any]:
        """Raises Problem 404 for an unknown number, as all that take one do."""
        return inspections.as_dict(self.row(number))

    def row(self, number: int) -> InspectionRow:
        with self.database.reading() as session:
            return inspections.find(session, number)

    def verdict(self, number: int) -> Verdict:
        row = self.row(number)
        return restore(row, self._read(row.map))

    def original(self, number: int) -> bytes:
        return self._read(self.row(number).image)

    def preview(self, number: int) -> bytes:
        row = self.row(number)
        return self.decoders.picture(self._read(row.image), white_level=self.white_level(row.model))

    def thumbnail(self, number: int) -> bytes:
        row = self.row(number)
        return self.thumbnails.get(row.image, self.white_level(row.model))

    def exhibit(self, number: int, region: int) -> bytes:
        """A region, from 1, beside its good patch. Raises Problem 404 where it has none."""
        with self.database.reading() as session:
            row = inspections.find(session, number)
            patch = inspections.good_patch(session, number, region)
        image = self.decoders.pixels(self._read(row.image), self.white_level(row.model)).pixels
        return exhibit(image, row, self._read(row.map), patch, self._read(patch.picture))

    def review_queue(self, model: str | None = None, limit: int = 20) -> dict[str, Any]:
        with self.database.reading() as session:
            rows, waiting = inspections.to_review(session, model, limit)
            return {"items": [inspections.as_dict(row) for row in rows], "waiting": waiting}

    # ── models ──────────────────────────────────────────────────────────────────────────────────────

    def model_name(self, name: str | None) -> str:
        """The given model, or the default one. Raises Problem 404 for an unknown name."""
        return self.registry.get(name or self.registry.default()).name

    def white_level(self, model: str) -> int:
        if model not in self.registry.names():  # its inspections outlive a model
            return 65535
        return self.registry.get(model).active.detector.settings.image.white_level

    def models(self) -> list[dict[str, Any]]:
        return [self.model(name) for name in self.registry.names()]

    def model(self, name: str) -> dict[str, Any]:
        current = self.registry.get(name).active
        with self.database.reading() as session:
            version = versions.find_version(session, name, current.number)
            return {
                "name": name,
                "default": versions.find_model(session, name).is_default,
                "loaded": True,
                "active": versions.as_dict(version, current.number),
                "versions": versions.next_number(session, name) - 1,
                "description": _without_places(current.detector.describe()),
            }

    def receive_model(self, name: str, description: IO[bytes], tensors: IO[bytes], by: str) -> dict[str, Any]:
        """Take in the two files of a model, and judge with it from now on under that name."""
        contents = {importing.DESCRIPTION: description, importing.TENSORS: tensors}
        number = self.registry.receive(name, contents, self.settings.limits.pixels, by)
        self.learning.publish_version(name, number, "import")
        return self.model(name)

    def versions(self, name: str) -> list[dict[str, Any]]:
        """Newest first."""
        number = self.registry.get(name).active.number
        with self.database.reading() as session:
            return [versions.as_dict(row, number) for row in versions.of_model(session, name)]

    def what_if(self, name: str, rates: Sequence[float], last: int = 1000) -> dict[str, Any]:
        """How many of the last parts each false-alarm promise would have rejected."""
        calibration = self.registry.get(name).active.detector.calibration_
        with self.database.reading() as session:
            scores = inspections.last_scores(session, name, last)
        curve = []
        for rate in (calibration.false_alarm_rate, *rates):
            promise = replace(calibration, false_alarm_rate=rate)
            rejected = sum(score > promise.threshold for score in scores)
            curve.append(
                {
                    "rate": rate,
                    "threshold": promise.threshold,
                    "promised": promise.promised,
                    "rejected": rejected,
                }
            )
        return {"parts": len(scores), "now": curve[0], "curve": curve[1:]}

    def reset_drift(self, name: str, false_alarm: bool, by: str) -> None:
        """Begin the drift test anew."""
        self.registry.get(name)
        with self.database.writing() as session:
            drift = DriftMonitor(self.settings.images_between_drift_alarms)
            drift.reset(session, name, false_alarm)
            audit.note(session, by, "reset drift", name, "false alarm" if false_alarm else "cause removed")
        self.metrics.drift.labels(name).set(0)

    # ── the whole ───────────────────────────────────────────────────────────────────────────────────

    def statistics(
        self,
        model: str | None = None,
        since: float | None = None,
        until: float | None = None,
        bucket: statistics.Bucket = "hour",
    ) -> dict[str, Any]:
        threshold = None
        if model is not None:
            threshold = self.registry.get(model).active.detector.calibration_.threshold
        with self.database.reading() as session:
            return statistics.summarize(session, model, since, until, bucket, threshold)

    def audit(self, before: int | None, limit: int) -> list[dict[str, Any]]:
        with self.database.reading() as session:
            return audit.newest(session, before, limit)

    def note(self, by: str, action: str, object_: str, detail: str = "") -> None:
        """An entry of the audit log for what changes nothing else."""
        with self.database.writing() as session:
            audit.note(session, by, action, object_, detail)

    def check(self) -> None:
        """Raise where the station cannot judge now: no database, no room on the disk."""
        if self._closing.is_set():
            raise Problem(503, "the station is stopping", retry_after=10)
        self.database.check()
        probe = self.settings.data / ".probe"
        try:
            probe.write_bytes(b"x" * 4096)
        finally:
            probe.unlink(missing_ok=True)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with self.database.reading() as session:
            yield session

    def tidy(self) -> retention.Freed:
        """Apply the retention, and let go of old versions and of files that no row names."""
        freed = retention.apply(self.settings.retention, self.database, self.files, self.thumbnails.remove)
        self.registry.prune(self.settings.versions_kept)
        # What a failed or killed job has left; what is being written now is younger.
        swept = self._sweep(older_than=_TIDY_SECONDS)
        return replace(freed, bytes=freed.bytes + swept)

    def _sweep(self, older_than: float) -> int:
        return self.files.sweep(
            lambda prefix: retention.named(self.database, prefix),
            lambda digest: retention.is_needed(self.database, digest),
            older_than,
        )

    def _read(self, digest: str) -> bytes:
        try:
            return self.files.read(digest)
        except FileNotFoundError:
            raise Problem(404, "the file is no longer kept") from None

    def _tidy_now_and_then(self) -> None:
        while not self._closing.wait(_TIDY_SECONDS):
            self._try_to_tidy()

    def _try_to_tidy(self) -> None:
        try:
            self.tidy()
        except Exception as error:  # the next round tries again
            _log.error("not tidied: %s", " ".join(str(error).split()))


def plain_name(name: str) -> str:
    """A client's name for an image, for people to read; it never becomes a path."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(letter for letter in base if letter.isprintable())[:200]


def _without_places(description: dict[str, Any]) -> dict[str, Any]:
    """Where a backbone lies on this machine is nobody's business; a name stays as it is."""
    shown = {key: dict(value) if isinstance(value, dict) else value for key, value in description.items()}
    for part, key in (("settings", "backbone"), ("backbone", "name")):
        if part in shown:
            shown[part][key] = Path(shown[part][key]).name
    return shown


def _take(folder: Path) -> IO[bytes]:
    """The folder, for this process alone: the system lets go of the lock when the process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / "station.lock").open("ab")
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise InputError(
            f"{folder}: another station works in it; stop that or choose another --data"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()).encode())
    lock.flush()
    return lock
