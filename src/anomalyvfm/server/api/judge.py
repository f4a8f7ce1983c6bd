"""Images in, inspections out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from anomalyvfm.server.api.once import once
from anomalyvfm.server.api.shapes import (
    INSPECTION,
    Job,
    JobItems,
    Jobs,
    Limit,
    ModelQuery,
    Number,
    PartFields,
    Results,
)
from anomalyvfm.server.auth.guard import Operator
from anomalyvfm.server.problems import Problem, as_problem
from anomalyvfm.server.settings import Limits
from anomalyvfm.server.station import Station

_BYTES = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["image"],
        "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
    }
}
_IMAGES = {
    "requestBody": {
        "required": True,
        "content": {"image/*": _BYTES, "application/octet-stream": _BYTES, "multipart/form-data": _FORM},
    }
}
_UPLOADS = {"requestBody": {"required": True, "content": {"multipart/form-data": _FORM}}}


def router(station: Station) -> APIRouter:
    routes = APIRouter(prefix="/api", tags=["judging"], route_class=once(station.database))
    uploads = _Uploads(station.settings.limits)

    @routes.post("/judge", response_model=None, openapi_extra=_IMAGES, responses=_judged())
    async def judge(
        request: Request,
        user: Operator,
        fields: PartFields,
        model: ModelQuery = None,
        name: Annotated[str, Query(max_length=200, description="for people to tell parts by")] = "",
    ) -> Response | dict[str, Any]:
        """Judge the image of a raw body, or each `image` of a form. The answer comes when it is in the store.

        A form gives a result for each image: an inspection, or the problem with it. The parts' fields (`lot`,
        `serial`, …) are in the address, or in headers: `X-Part-Lot`.
        """
        if not _is_form(request):
            with _counting(station):
                content = await uploads.body(request)
                with station.batcher.places():
                    return await _judge(station, content, model, name, user.name, fields)
        with _counting(station):
            images = await _form_images(request, station)
            with station.batcher.places(len(images)):
                answers = [
                    _judge(station, content, model, name, user.name, fields) for name, content in images
                ]
                found = await asyncio.gather(*answers, return_exceptions=True)
        problems = [as_problem(one) for one in found if isinstance(one, BaseException)]
        for problem in problems:
            station.metrics.refused.labels(problem.status).inc()
        if len(problems) == len(found) and problems[0].status in (404, 503, 507):
            raise problems[0]  # nothing to do with the images
        return {
            "results": [
                {"name": name, "problem": as_problem(one).as_dict()}
                if isinstance(one, BaseException)
                else {"name": name, "inspection": one}
                for (name, _), one in zip(images, found, strict=True)
            ]
        }

    @routes.post("/jobs", status_code=202, response_model=Job, openapi_extra=_UPLOADS)
    async def add_job(
        request: Request, user: Operator, fields: PartFields, model: ModelQuery = None
    ) -> dict[str, Any]:
        """Accept the images of a form, to be judged when there is time; they survive a restart."""
        if not _is_form(request):
            raise Problem(415, "send the images as multipart/form-data, each in a field named image")
        images = await _form_images(request, station)
        return await run_in_threadpool(station.jobs.accept, images, model, user.name, fields)

    @routes.get("/jobs", response_model=Jobs)
    def jobs(user: Operator, limit: Limit = 50) -> dict[str, Any]:
        """The newest jobs."""
        return {"items": station.jobs.newest(limit)}

    @routes.get("/jobs/{number}", response_model=Job)
    def job(number: Number, user: Operator) -> dict[str, Any]:
        """How far a job is."""
        return station.jobs.get(number)

    @routes.get("/jobs/{number}/items", response_model=JobItems)
    def job_items(
        number: Number,
        user: Operator,
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """A job's images, in the order sent, with their inspections."""
        return {"items": station.jobs.items(number, offset, limit)}

    return routes


async def _judge(
    station: Station, content: bytes, model: str | None, name: str, by: str, fields: Mapping[str, str]
) -> dict[str, Any]:
    answer: Future[dict[str, Any]] = await run_in_threadpool(station.submit, content, model, name, by, fields)
    return await asyncio.wrap_future(answer)  # given up by its request, it is not judged


class _Uploads:
    """The bytes of images that are still being sent.

    Whoever sends slowly holds what has come so far and no place in the queue: nobody waits for it.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0  # the event loop's alone

    async def body(self, request: Request) -> bytes:
        """The image of a request. Raises Problem 413 or 429 where that or all together are too much."""
        limit = self._limits.image_bytes
        content = bytearray()
        try:
            async for part in request.stream():
                content += part
                self._held += len(part)
                if len(content) > limit:
                    raise Problem(413, f"image data: over {limit} bytes; an image may have no more")
                if self._held > self._limits.receiving_bytes:
                    raise Problem(429, "too much is being sent at once; send again in 5 s", retry_after=5)
        finally:
            self._held -= len(content)
        return bytes(content)


@contextmanager
def _counting(station: Station) -> Iterator[None]:
    """Count what is refused as a whole."""
    try:
        yield
    except Exception as error:
        problem = as_problem(error)
        station.metrics.refused.labels(problem.status).inc()
        raise problem from error


async def _form_images(request: Request, station: Station) -> list[tuple[str, bytes]]:
    """(name, content) of each file of the form. Raises Problem 413 for too many, 422 for none."""
    limits = station.settings.limits
    async with request.form(max_files=limits.images_a_request, max_fields=10) as form:
        files = [(key, value) for key, value in form.multi_items() if isinstance(value, UploadFile)]
        if not files or any(key != "image" for key, _ in files):
            raise Problem(422, "no image in the form; name the field of each file: image")
        return [(file.filename or "", await file.read()) for _, file in files]


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


def _judged() -> dict[int | str, dict[str, Any]]:
    one = {"$ref": "#/components/schemas/Inspection"}
    return {
        200: {
            "model": Results,
            "description": "An inspection for a raw body, results for a form",
            "content": {
                "application/json": {
                    "schema": {"anyOf": [one, {"$ref": "#/components/schemas/Results"}]},
                    "example": INSPECTION,
                }
            },
        }
    }
