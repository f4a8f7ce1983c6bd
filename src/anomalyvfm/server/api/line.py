"""The line: where images come from, and who is told of inspections."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Response

from anomalyvfm.server.api.once import once
from anomalyvfm.server.api.shapes import Asked, Line, Number, PartFields, PauseRequest
from anomalyvfm.server.auth.guard import Admin, Engineer, Operator
from anomalyvfm.server.station import Station
from anomalyvfm.server.store import refusals

_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
_SourceName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]
_EXAMPLE = {"kind": "camera", "address": "rtsp://camera-3/stream1", "trigger": "motion"}


def router(station: Station) -> APIRouter:
    routes = APIRouter(prefix="/api/line", tags=["line"], route_class=once(station.database))

    @routes.get("", response_model=Line)
    def line(user: Operator) -> dict[str, Any]:
        """How the sources of images and the sinks of inspections fare, and what was refused last."""
        return station.line()

    @routes.get("/refusals/{number}/thumbnail.jpg", response_class=Response, responses=_JPEG)
    def refused(number: Number, user: Operator) -> Response:
        """What a refused image showed; of the last hundred that could be decoded."""
        with station.reading() as session:
            content = refusals.picture(session, number)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    @routes.post("/sources/{name}/trigger", status_code=202, response_model=Asked)
    def trigger(name: str, user: Operator, fields: PartFields) -> dict[str, Any]:
        """Have the next frame of a camera judged whose trigger is `message`; the fields are the part's."""
        station.sources.ask(name, fields)
        return {"source": name, "fields": fields}

    @routes.put("/sources/{name}", response_model=Line)
    def put(
        name: _SourceName, body: Annotated[dict[str, Any], Body(examples=[_EXAMPLE])], user: Admin
    ) -> dict[str, Any]:
        """Add a camera, or change one that was added, by the keys of a table `[sources.NAME]`.

        The kinds are `camera` and `snapshot`; what names files of the machine is for the station's file.
        """
        station.changing_sources.put(name, body, user.name)
        return station.line()

    @routes.delete("/sources/{name}", response_model=Line)
    def remove(name: _SourceName, user: Admin) -> dict[str, Any]:
        """Remove a source that was added; what it brought stays."""
        station.changing_sources.remove(name, user.name)
        return station.line()

    @routes.put("/sources/{name}/paused", response_model=Line)
    def pause(name: _SourceName, body: PauseRequest, user: Engineer) -> dict[str, Any]:
        """Have a source take no images, or take them again; also after the station's next start."""
        station.changing_sources.pause(name, body.paused, user.name)
        return station.line()

    return routes
