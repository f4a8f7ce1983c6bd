"""What was judged: lists, single parts, their pictures, exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, Any, Literal

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from anomalyvfm.server.api.shapes import Before, Filter, Inspection, Inspections, Limit, Number
from anomalyvfm.server.auth.guard import Engineer, Operator
from anomalyvfm.server.decoding.pool import kind_of
from anomalyvfm.server.inspections import exporting, verdicts
from anomalyvfm.server.station import Station
from anomalyvfm.server.store import inspections
from anomalyvfm.server.store.inspections import InspectionFilter
from anomalyvfm.server.store.tables import InspectionRow

# Pictures of a part never change; only people who are signed in may keep them.
_FOR_GOOD = {"Cache-Control": "private, max-age=604800, immutable"}


def router(station: Station) -> APIRouter:
    routes = APIRouter(prefix="/api", tags=["inspections"])
    archive = station.inspections

    @routes.get("/inspections", response_model=Inspections)
    def listed(
        wanted: Filter, user: Operator, before: Before = None, after: Before = None, limit: Limit = 50
    ) -> dict[str, Any]:
        """Newest first, page by page. With `after` alone: those next above that number."""
        items = archive.newest(wanted, before, after, limit)
        return {"items": items, "next": items[-1]["id"] if len(items) == limit else None}

    @routes.get("/inspections/{number}", response_model=Inspection)
    def one(number: Number, user: Operator) -> dict[str, Any]:
        return archive.get(number)

    def picture(name: str, media_type: str, draw: Callable[[int], bytes], about: str) -> None:
        def show(number: Number, user: Operator) -> Response:
            return Response(draw(number), media_type=media_type, headers=_FOR_GOOD)

        routes.get(
            f"/inspections/{{number}}/{name}",
            summary=about,
            operation_id=name.replace(".", "_"),
            response_class=Response,
            responses={200: {"content": {media_type: {}}}},
        )(show)

    picture("thumbnail.jpg", "image/jpeg", archive.thumbnail, "At most 320 px")
    picture("preview.jpg", "image/jpeg", archive.preview, "At most 1280 px")
    picture(
        "heat.png",
        "image/png",
        lambda n: verdicts.heat(archive.verdict(n)),
        "The map, to lie over it",
    )
    picture(
        "outline.png",
        "image/png",
        lambda n: verdicts.outline(archive.verdict(n)),
        "The regions' border",
    )

    @routes.get(
        "/inspections/{number}/original",
        response_class=Response,
        responses={200: {"content": {"application/octet-stream": {}}}},
    )
    def original(number: Number, user: Operator) -> Response:
        """The bytes as they were sent. To be saved, never shown: they may be more than an image."""
        content = archive.original(number)
        kind = kind_of(content)
        headers = {
            **_FOR_GOOD,
            "Content-Disposition": f'attachment; filename="part-{number}.{kind}"',
            "Content-Security-Policy": "sandbox; default-src 'none'",
        }
        return Response(content, media_type="application/octet-stream", headers=headers)

    @routes.get(
        "/inspections/{number}/regions/{region}.jpg",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}},
    )
    def exhibit(number: Number, region: Number, user: Operator) -> Response:
        """Left a region, right the good patch it was most like, each 240 px; regions count from 1."""
        return Response(archive.exhibit(number, region), media_type="image/jpeg", headers=_FOR_GOOD)

    @routes.get("/export", response_class=StreamingResponse, responses=_exports())
    def export(format: Literal["csv", "parquet", "coco"], wanted: Filter, user: Engineer) -> Response:
        """All that fit the filter, oldest first."""
        station.note(user.name, "export", format, repr(wanted))
        headers = {"Content-Disposition": f'attachment; filename="inspections.{_ENDINGS[format]}"'}
        if format == "csv":
            content: Any = exporting.as_csv(_rows(station, wanted))
        elif format == "coco":
            content = exporting.as_coco(_rows(station, wanted), station.files.read)
        else:
            content = closing_blocks(exporting.as_parquet(_rows(station, wanted)))
        return StreamingResponse(content, media_type=_TYPES[format], headers=headers)

    return routes


_ENDINGS = {"csv": "csv", "parquet": "parquet", "coco": "json"}
_TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet", "coco": "application/json"}


def _exports() -> dict[int | str, dict[str, Any]]:
    return {200: {"description": "A file", "content": {kind: {} for kind in _TYPES.values()}}}


def _rows(station: Station, wanted: InspectionFilter) -> Iterator[InspectionRow]:
    with station.reading() as session:
        yield from inspections.oldest_first(session, wanted)


def closing_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """What is left of a file, which is closed at its end."""
    with file:
        while block := file.read(1 << 16):
            yield block
