"""The station as a whole: statistics, audit log, events, health, metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from anomalyvfm.server.api.shapes import (
    Before,
    Limit,
    ModelQuery,
    Users,
    VersionQuery,
    seconds,
)
from anomalyvfm.server.auth.guard import Admin, Operator, find_user, gate_of
from anomalyvfm.server.events import Event
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.station import Station
from anomalyvfm.server.store.inspections import InspectionFilter
from anomalyvfm.version import __version__

_MOST_REPLAYED = 1000


def router(station: Station) -> APIRouter:
    routes = APIRouter(tags=["station"])

    @routes.get("/health")
    def health() -> dict[str, str]:
        """The process is there. Open to all."""
        return {"status": "ok", "version": __version__}

    @routes.get("/ready")
    def ready(request: Request) -> dict[str, Any]:
        """Images can be judged and kept now; 503 or 507 otherwise. Open to all."""
        station.check()
        accounts = gate_of(request).accounts
        faults = accounts.faults if accounts else ()
        warnings = [f"the token file: {fault}" for fault in faults]
        if fault := station.version_folders.fault():
            warnings.append(f"copies of versions cannot be written: {fault}")
        warnings += [f"{name}: {trouble}" for name, trouble in station.states.troubles().items()]
        return {"status": "ready", "warnings": warnings}

    @routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def metrics(user: Operator) -> Response:
        """For Prometheus."""
        return Response(station.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @routes.get("/api/statistics")
    def statistics(
        user: Operator,
        model: ModelQuery = None,
        since: datetime | None = None,
        until: datetime | None = None,
        bucket: Literal["hour", "day"] = "hour",
        version: VersionQuery = None,
    ) -> dict[str, Any]:
        """Counts and rates over time, the scores, and the drift test of the model, if one is named.

        With a version: of what that one has judged.
        """
        if version is not None and model is None:
            raise Problem(422, "version: needs the name of its model beside it")
        return station.statistics(model, seconds(since), seconds(until), bucket, version)

    @routes.get("/api/audit")
    def audit(user: Admin, before: Before = None, limit: Limit = 100) -> dict[str, Any]:
        """Who changed what, newest first."""
        items = station.audit(before, limit)
        return {"items": items, "next": items[-1]["id"] if len(items) == limit else None}

    @routes.get("/api/users", response_model=Users)
    def users(user: Admin, request: Request) -> dict[str, Any]:
        """Who may come in, as the token file says."""
        return {"items": gate_of(request).users()}

    @routes.get("/api/events", response_class=StreamingResponse, responses=_STREAM)
    async def events(
        user: Operator,
        request: Request,
        model: ModelQuery = None,
        last_event_id: Annotated[str | None, Header(max_length=20)] = None,
    ) -> Response:
        """Inspections, reviews, new versions and drift, as server-sent events.

        With `Last-Event-ID`, the inspections since that one come first, at most the newest thousand.
        """
        listening = station.events.listen()
        missed: list[dict[str, Any]] = []
        if last_event_id is not None and last_event_id.isdigit() and int(last_event_id) < 1 << 31:
            after = int(last_event_id)
            # Newest first, so that of too many the newest are sent; then turned round.
            missed = (
                await run_in_threadpool(
                    station.inspections.newest, InspectionFilter(model=model), 1 << 30, after, _MOST_REPLAYED
                )
            )[::-1]

        async def stream() -> AsyncIterator[bytes]:
            yield b": welcome\n\n"
            last = 0
            for inspection in missed:
                last = inspection["id"]
                yield Event("inspection", inspection, last).encode().encode()
            async for event in station.events.stream(listening):
                if find_user(request) is None:  # the token was taken away, or somebody has signed out
                    return
                if event is None:
                    yield b": still here\n\n"  # so that dead connections are noticed
                elif _fits(event, model) and not (event.id is not None and event.id <= last):
                    yield event.encode().encode()

        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)

    return routes


_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


def _fits(event: Event, model: str | None) -> bool:
    return model is None or event.data.get("model", model) == model
