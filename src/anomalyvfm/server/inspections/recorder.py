"""From verdicts to the store: files first, then the rows that name them, then the news."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.server.drift_monitor import DriftMonitor
from anomalyvfm.server.events import Event, Events
from anomalyvfm.server.inspections.batching import Part
from anomalyvfm.server.inspections.thumbnails import Thumbnails
from anomalyvfm.server.inspections.verdicts import columns, is_sampled, map_content, picture_content
from anomalyvfm.server.metrics import Metrics
from anomalyvfm.server.models.registry import ActiveVersion
from anomalyvfm.server.settings import Settings
from anomalyvfm.server.store import jobs
from anomalyvfm.server.store.clock import now
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import Files
from anomalyvfm.server.store.inspections import as_dict
from anomalyvfm.server.store.tables import GoodPatchRow, InspectionRow

# Each file waits for the disk twice; together they wait once.
_WRITERS = 8


class Recorder:
    """Keeps batches of verdicts, each batch in one transaction."""

    def __init__(
        self,
        database: Database,
        files: Files,
        thumbnails: Thumbnails,
        events: Events,
        metrics: Metrics,
        settings: Settings,
        kept: Callable[[Mapping[int, float]], None],
    ) -> None:
        """``kept`` is told of new inspections, by number when each image was accepted (monotonic)."""
        self._database = database
        self._files = files
        self._thumbnails = thumbnails
        self._drift_monitor = DriftMonitor(settings.images_between_drift_alarms)
        self._events = events
        self._metrics = metrics
        self._settings = settings
        self._kept = kept
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="write")

    def record(
        self, model: str, current: ActiveVersion, judged: Sequence[tuple[Part, Verdict]]
    ) -> Sequence[dict[str, Any]]:
        """The inspections as they now are in the store."""
        with self._files.keeping() as keep:
            maps = [map_content(verdict) for _, verdict in judged]
            contents = [part.content for part, _ in judged]
            writes = [self._writers.submit(keep, content) for content in (*contents, *maps)]
            wait(writes)  # all, before one that failed ends the block that guards them
            digests = [write.result() for write in writes]
            patches = [self._good_patches(verdict, keep) for _, verdict in judged]
            at = now()
            rows = [
                InspectionRow(
                    at=at,
                    hour=int(at // 3600),
                    model=model,
                    version=current.number,
                    name=part.name,
                    by=part.by,
                    **part.fields,
                    image=image,
                    map=map_,
                    bytes=len(part.content) + len(content),
                    sampled=is_sampled(image, self._settings.sampled_share),
                    **columns(verdict),
                )
                for (part, verdict), image, map_, content in zip(
                    judged, digests[: len(judged)], digests[len(judged) :], maps, strict=True
                )
            ]
            with self._database.writing() as session:
                session.add_all(rows)
                session.flush()
                for (part, _), row, found in zip(judged, rows, patches, strict=True):
                    for patch in found:
                        patch.inspection_id = row.id
                    session.add_all(found)
                    if part.job_item is not None:
                        jobs.finish(session, part.job_item, row.id)
                    if part.file is not None:
                        session.merge(part.file.row())
                scores = [row.score for row in rows]
                alarm = self._drift_monitor.add(session, model, current.number, current.detector, scores)
        for (part, _), row in zip(judged, rows, strict=True):
            self._thumbnails.put(row.image, part.thumbnail)
            self._metrics.inspections.labels(model, "anomalous" if row.anomalous else "good").inc()
        self._kept({row.id: part.accepted for (part, _), row in zip(judged, rows, strict=True)})
        kept = [as_dict(row) for row in rows]
        self._events.publish(*(Event("inspection", inspection, inspection["id"]) for inspection in kept))
        self._metrics.drift.labels(model).set(alarm.on)
        if alarm.raised:
            self._events.publish(Event("drift", {"model": model, "alarm": True}))
        return kept

    def _good_patches(self, verdict: Verdict, keep: Callable[[bytes], str]) -> list[GoodPatchRow]:
        """What each region is shown beside, from now on: the model may forget that image.

        A model keeps few pictures, each a file once, whatever the number of regions they stand beside.
        """
        return [
            GoodPatchRow(
                region=number,
                picture=keep(picture_content(nearest.picture)),
                bbox=list(nearest.bbox),
                height=nearest.size[0],
                width=nearest.size[1],
            )
            for number, region in enumerate(verdict.regions, start=1)
            if region.reason is not None and (nearest := region.reason.nearest) is not None
        ]

    def close(self) -> None:
        self._writers.shutdown()
