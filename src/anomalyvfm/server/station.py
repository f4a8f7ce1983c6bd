"""The station: everything it consists of, and what may be asked of it."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from anomalyvfm.errors import InputError
from anomalyvfm.line.fields import FieldRules, Shifts
from anomalyvfm.line.settings import LineSettings
from anomalyvfm.line.sinks.opening import open_deliveries
from anomalyvfm.line.states import States
from anomalyvfm.server import drift_monitor, statistics
from anomalyvfm.server.decoding.pool import Decoders
from anomalyvfm.server.drift_monitor import DriftMonitor
from anomalyvfm.server.events import Event, Events
from anomalyvfm.server.inspections.archive import Archive
from anomalyvfm.server.inspections.batching import Batcher, Part, plain_name
from anomalyvfm.server.inspections.job_runner import JobRunner
from anomalyvfm.server.inspections.recorder import Recorder
from anomalyvfm.server.inspections.thumbnails import Thumbnails
from anomalyvfm.server.metrics import Metrics
from anomalyvfm.server.models.catalogue import Catalogue
from anomalyvfm.server.models.registry import ModelRegistry
from anomalyvfm.server.models.version_folders import Loader, VersionFolders
from anomalyvfm.server.outbox import InspectionOutbox
from anomalyvfm.server.problems import Problem, cannot_start
from anomalyvfm.server.recalibration import Recalibration
from anomalyvfm.server.report import compile_report
from anomalyvfm.server.review import Learning
from anomalyvfm.server.reviewed_parts import ReviewedParts
from anomalyvfm.server.settings import Settings
from anomalyvfm.server.sources.changing import ChangingSources
from anomalyvfm.server.sources.intake import Intake
from anomalyvfm.server.sources.sources import Sources
from anomalyvfm.server.store import answers, audit, identity, refusals, retention, versions
from anomalyvfm.server.store.clock import zone
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.deletions import Deletions
from anomalyvfm.server.store.files import Files
from anomalyvfm.server.store.inspections import InspectionFilter
from anomalyvfm.server.store.trash import Trash

_log = logging.getLogger(__name__)

_TIDY_SECONDS = 600.0
_RECENT_REFUSALS = 20
_TELLING_SECONDS = 3.0
"""What sinks have at the end to be told what waits; the others hear of it after the next start."""
# Of what is kept; the rest is for images and maps.
_VERSIONS_SHARE = 0.5


class Station:
    """Opened over a folder of its own, by one process at a time; :meth:`close` finishes what was accepted.

    Raises InputError where the folder is in use or unwritable, the database does not answer, or there is
    no model.
    """

    def __init__(self, settings: Settings, models: Sequence[Path], load: Loader) -> None:
        self.settings = settings
        self.zone = zone(settings.timezone)
        try:
            with ExitStack() as opened:
                self._open(models, load, opened)
                opened.pop_all()  # from here on it is for `close` to let go
        except (OSError, DBAPIError) as error:
            raise cannot_start(settings.data, error) from None

    def _open(self, models: Sequence[Path], load: Loader, opened: ExitStack) -> None:
        settings = self.settings
        self._lock = opened.enter_context(_take(settings.data))
        self.metrics = Metrics()
        self.events = Events()
        self.states = States()
        self.database = Database(settings.database_url)
        opened.callback(self.database.close)
        self.identity = identity.identify(settings.data, self.database)
        self.files = Files(settings.data / "files")
        self.trash = Trash(settings.data, settings.trash_days)
        self._deletions = Deletions(settings.data)
        line = settings.line or LineSettings({}, "")
        self.decoders = Decoders(settings.decoders, settings.limits, line.barcodes)
        opened.callback(self.decoders.close)
        self.version_folders = VersionFolders(
            settings.data / "models",
            self.database,
            self.files,
            self.trash,
            self._deletions,
            load,
            lambda content, level: self.decoders.pixels(content, level).pixels,
        )
        opened.callback(self.version_folders.close)
        self.registry = ModelRegistry(self.version_folders, self.database, load, self._publish_version)
        self.registry.open(models)  # before any file goes: versions are made again from some
        names = self.registry.names()
        for name, source in line.sources.items():
            if source.model is not None and source.model not in names:
                raise InputError(
                    f"sources.{name}.model: no model {source.model} here; there are {', '.join(names)}"
                )
        self._sweep(older_than=0)
        with self.database.reading() as session:
            for name, on in drift_monitor.alarms(session).items():
                self.metrics.drift.labels(name).set(on)
        self.thumbnails = Thumbnails(settings.data / "thumbnails", self.files, self.decoders)
        self._recorder = Recorder(
            self.database, self.files, self.thumbnails, self.events, self.metrics, settings, self._tell_sinks
        )
        self._outbox = InspectionOutbox(self.database, self.identity)
        self._deliveries = open_deliveries(line, self._outbox, self.states, self.zone)
        self.batcher = Batcher(self.registry, self._recorder.record, settings, self.metrics)
        opened.callback(self.batcher.close)
        self.reviewed_parts = ReviewedParts(
            self.database, self.files, self.registry, self.decoders, lambda: self.batcher.is_busy
        )
        opened.callback(self.reviewed_parts.close)
        for name in self.registry.names():
            self.reviewed_parts.look_again(name)
        self.models = Catalogue(
            self.registry, self.version_folders, self.database, self.reviewed_parts.defect_scores
        )
        intake = Intake(
            line.gate,
            self.batcher,
            self.decoders,
            self.models,
            self.database,
            self.states,
            self.metrics,
            self._fields,
            self._tell_sinks,
        )
        self.sources = Sources(
            line.sources, intake, self.database, self.states, self.metrics, settings.limits.image_bytes
        )
        self.changing_sources = ChangingSources(self.sources, self.database, self.states, self.registry.names)
        self.recalibration = Recalibration(
            self.database, self.files, self.registry, self.decoders, self.reviewed_parts
        )
        self.learning = Learning(
            self.database,
            self.files,
            self.registry,
            self.decoders,
            self.recalibration,
            self.reviewed_parts,
            self.events,
            self.metrics,
        )
        self.inspections = Archive(
            self.database, self.files, self.decoders, self.thumbnails, self.models.white_level
        )
        self.jobs = JobRunner(
            self.database, self.files, self.decoders, self.batcher, settings, self.models, self._fields
        )
        for delivery in self._deliveries:
            delivery.start()
        self.sources.start()
        self._closing = threading.Event()
        self._tidier = threading.Thread(target=self._tidy_now_and_then, name="tidy")
        self._tidier.start()

    def close(self) -> None:
        """Finish what was accepted, then let go of everything."""
        if self._closing.is_set():
            return
        self._closing.set()
        self.sources.close()
        self.jobs.close()
        self.batcher.close()
        self.recalibration.close()
        self.reviewed_parts.close()
        self.version_folders.close()
        self._tidier.join()
        self._recorder.close()
        for delivery in self._deliveries:
            delivery.end(_TELLING_SECONDS)
        for delivery in self._deliveries:
            delivery.join()
        self.decoders.close()
        self.database.close()
        self._lock.close()

    def submit(
        self,
        content: bytes,
        model: str | None,
        name: str,
        by: str,
        fields: Mapping[str, str] | None = None,
    ) -> Future[dict[str, Any]]:
        """Decode and queue an image, within the batcher's places; the future gives its inspection.

        ``fields`` of the part count before what is known of it otherwise.
        """
        model = self.models.name(model)
        decoded = self.decoders.pixels(content, self.models.white_level(model))
        name = plain_name(name)
        part = Part(
            model,
            name,
            by,
            content,
            decoded.pixels,
            decoded.thumbnail,
            fields=self._fields(name, fields or {}, decoded.codes),
        )
        self.batcher.submit(part)
        return part.answer

    def _fields(self, name: str, sent: Mapping[str, str], codes: Sequence[str]) -> dict[str, str]:
        """A part's fields: as they were sent, else by its codes, its name, the shift and the settings."""
        rules = self.settings.line.fields if self.settings.line else FieldRules()
        return rules.of(Path(name), datetime.now(self.zone), codes) | dict(sent)

    def line(self) -> dict[str, Any]:
        """How sources and sinks fare, and which images of sources were refused last."""
        troubles = self.states.troubles()
        settings = self.settings.line
        with self.database.reading() as session:
            refused = refusals.newest(session, _RECENT_REFUSALS)
        return {
            "sources": self.changing_sources.describe(),
            "refusals": refused,
            "sinks": [
                {
                    "name": delivery.name,
                    "kind": settings.sinks[delivery.name].kind,
                    "to": settings.sinks[delivery.name].where,
                    "trouble": troubles.get(f"sink {delivery.name}"),
                    **delivery.describe(),
                }
                for delivery in self._deliveries
                if settings is not None
            ],
        }

    def line_troubles(self) -> dict[str, int]:
        """How many sources and sinks have trouble; from memory, for who asks often."""
        troubles = self.states.troubles()
        sinks = sum(f"sink {delivery.name}" in troubles for delivery in self._deliveries)
        return {"sources": self.sources.in_trouble(), "sinks": sinks}

    def _tell_sinks(self, parts: Mapping[int, float]) -> None:
        self._outbox.arrived(parts)
        for delivery in self._deliveries:
            delivery.wake()

    def reset_drift(self, name: str, false_alarm: bool, by: str) -> None:
        """Begin the drift test anew."""
        self.registry.get(name)
        with self.database.writing() as session:
            drift = DriftMonitor(self.settings.images_between_drift_alarms)
            drift.reset(session, name, false_alarm)
            audit.note(session, by, "reset drift", name, "false alarm" if false_alarm else "cause removed")
        self.metrics.drift.labels(name).set(0)

    def drift_test(self, name: str) -> dict[str, Any] | None:
        """What a model's drift test says; None where there is none yet."""
        with self.database.reading() as session:
            return drift_monitor.describe(session, name)

    def statistics(
        self,
        model: str | None = None,
        since: float | None = None,
        until: float | None = None,
        bucket: statistics.Bucket = "hour",
        version: int | None = None,
    ) -> dict[str, Any]:
        """Of what was judged, by all models, one, or one version of it. Problem 404 for an unknown one."""
        threshold = None
        if model is not None:
            threshold = self.registry.get(model).active.detector.calibration_.threshold
        with self.database.reading() as session:
            if model is not None and version is not None:
                threshold = versions.find_version(session, model, version).calibration["threshold"]
            return statistics.summarize(session, model, version, since, until, bucket, threshold, self.zone)

    def report(self, wanted: InspectionFilter) -> dict[str, Any]:
        """What the parts of a time, shift or lot came to."""
        with self.database.reading() as session:
            return compile_report(session, wanted)

    def shifts(self, count: int) -> list[tuple[str | None, datetime, datetime]]:
        """The present shift and those before, by name, begin and end; days where there are no shifts."""
        shifts = self.settings.line.fields.shifts if self.settings.line else Shifts({})
        return shifts.last(datetime.now(self.zone), count)

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
        """Apply the retention, let go of old versions, and put away files that no row names.

        Nothing goes while a backup is taken.
        """
        with self._deletions.allowed() as allowed:
            return self._tidy() if allowed else retention.Freed(0, 0)

    def _tidy(self) -> retention.Freed:
        kept = self.settings.retention
        most = math.inf if kept.bytes is None else kept.bytes * _VERSIONS_SHARE
        answers.forget_old(self.database)
        self.version_folders.prune(self.settings.versions_kept, most)
        if kept.bytes is not None:
            kept = replace(kept, bytes=max(0, kept.bytes - self.version_folders.bytes()))
        freed = retention.apply(kept, self.database, self.files, self.thumbnails.remove)
        # What a failed or killed job has left; what is being written now is younger.
        swept = self._sweep(older_than=_TIDY_SECONDS)
        return replace(freed, bytes=freed.bytes + swept + self.trash.empty())

    def _publish_version(self, name: str, number: int, action: str) -> None:
        _log.info("version %d of %s judges now (%s)", number, name, action)
        self.metrics.versions.labels(name, action).inc()
        self.events.publish(Event("model", {"model": name, "version": number}))
        if number:  # 0: it was deleted
            self.reviewed_parts.look_again(name)

    def _sweep(self, older_than: float) -> int:
        return self.files.sweep(
            lambda prefix: retention.named(self.database, prefix),
            lambda digest: retention.is_needed(self.database, digest),
            self.trash.take,
            older_than,
        )

    def _tidy_now_and_then(self) -> None:
        while not self._closing.wait(_TIDY_SECONDS):
            self._try_to_tidy()

    def _try_to_tidy(self) -> None:
        try:
            self.tidy()
        except Exception as error:  # the next round tries again
            _log.error("not tidied: %s", " ".join(str(error).split()))


def _take(folder: Path) -> IO[bytes]:
    """The folder, for this process alone: the system lets go of the lock when the process ends."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = (folder / "station.lock").open("ab", buffering=0)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise InputError(
            f"{folder}: another station works in it; stop that or choose another --data"
        ) from None
    with suppress(OSError):  # on a full disk nobody is told who holds it
        lock.truncate(0)
        lock.write(str(os.getpid()).encode())
    return lock
