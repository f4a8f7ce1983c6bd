"""Models, their versions, and their promises."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from anomalyvfm.model_folder import DESCRIPTION, TENSORS
from anomalyvfm.server.api.inspections import closing_blocks
from anomalyvfm.server.api.once import once
from anomalyvfm.server.api.shapes import (
    ActivateRequest,
    DefaultRequest,
    DriftResetRequest,
    Model,
    Models,
    Name,
    Number,
    RateRequest,
    Versions,
    WhyRequest,
    clean,
)
from anomalyvfm.server.auth.guard import Admin, Engineer, Operator
from anomalyvfm.server.models.importing import DESCRIPTION_BYTES
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.station import Station

NewName = Annotated[str, Query(max_length=100, examples=["sheet_metal"])]
_FILE = {"type": "string", "format": "binary"}
_MODEL_FILES = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["description", "tensors"],
                    "properties": {"description": _FILE, "tensors": _FILE},
                }
            }
        },
    }
}


_EXPECTED = "the version that judges now; 409 where another does"


def router(station: Station) -> APIRouter:
    routes = APIRouter(prefix="/api/models", tags=["models"], route_class=once(station.database))

    @routes.get("", response_model=Models)
    def listed(user: Operator) -> dict[str, Any]:
        return {"items": station.models.all()}

    @routes.post("", status_code=201, response_model=Model, openapi_extra=_MODEL_FILES)
    async def receive(request: Request, name: NewName, user: Admin) -> dict[str, Any]:
        """Bring a model in by its two files; it judges at once under that name, as its next version.

        Its backbone must be one that a model here has.
        """
        async with request.form(max_files=2, max_fields=0) as form:
            files = dict(form.multi_items())
            description, tensors = files.get("description"), files.get("tensors")
            if not isinstance(description, UploadFile) or not isinstance(tensors, UploadFile):
                raise Problem(422, "send model.json as description and model.safetensors as tensors")
            if (description.size or 0) > DESCRIPTION_BYTES:
                raise Problem(413, f"a description may have {DESCRIPTION_BYTES} bytes")
            contents = {DESCRIPTION: description.file, TENSORS: tensors.file}
            most_pixels = station.settings.limits.pixels
            await run_in_threadpool(station.registry.receive, name, contents, most_pixels, user.name)
            return await run_in_threadpool(station.models.get, name)

    @routes.put("/default", response_model=Model)
    def make_default(body: DefaultRequest, user: Engineer) -> dict[str, Any]:
        """Choose the model for requests that name none."""
        name = station.registry.get(body.name).name
        station.registry.make_default(name, user.name)
        return station.models.get(name)

    @routes.get("/{name}", response_model=Model)
    def one(name: Name, user: Operator) -> dict[str, Any]:
        return station.models.get(name)

    @routes.post("/{name}/load", response_model=Model)
    def load(name: Name, user: Engineer) -> dict[str, Any]:
        """Load the active version from its folder again."""
        station.registry.load_again(name)
        return station.models.get(name)

    @routes.get("/{name}/versions", response_model=Versions)
    def versions(name: Name, user: Operator) -> dict[str, Any]:
        """Newest first: who changed what, when and why."""
        return {"items": station.models.versions(name)}

    @routes.get(
        "/{name}/versions/{number}/export",
        response_class=StreamingResponse,
        responses={200: {"description": "A file", "content": {"application/zip": {}}}},
    )
    def export(name: Name, number: Number, user: Engineer) -> Response:
        """A version as a model folder, packed as a zip file: `predict`, `update` and `serve` take it."""
        name = station.registry.get(name).name
        station.note(user.name, "export", f"{name} {number}")
        headers = {"Content-Disposition": f'attachment; filename="{name}-{number}.zip"'}
        content = closing_blocks(station.models.as_zip(name, number))
        return StreamingResponse(content, media_type="application/zip", headers=headers)

    @routes.delete("/{name}", status_code=204)
    def delete(name: Name, user: Admin, expected: Annotated[int, Query(description=_EXPECTED)]) -> None:
        """Judge with a model no more. Its parts stay; its versions lie in the trash for a week."""
        station.registry.delete(name, expected, user.name)

    @routes.post("/{name}/activate", response_model=Model)
    def activate(name: Name, body: ActivateRequest, user: Engineer) -> dict[str, Any]:
        """Judge with another version, usually the one before."""
        station.registry.activate(name, body.version, body.expected, user.name, clean(body.why))
        return station.models.get(name)

    @routes.get("/{name}/what-if")
    def what_if(
        name: Name,
        user: Operator,
        rates: Annotated[str, Query(max_length=1000, examples=["0.001,0.01,0.05"])] = "0.001,0.01,0.05",
        last: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    ) -> dict[str, Any]:
        """How many of the last parts each false-alarm promise would have rejected."""
        return station.models.what_if(name, _rates(rates), last)

    @routes.put("/{name}/false-alarm-rate", response_model=Model)
    def set_rate(name: Name, body: RateRequest, user: Engineer) -> dict[str, Any]:
        """Promise another rate: a new version."""
        station.learning.set_rate(name, body.rate, user.name, clean(body.why), body.expected)
        return station.models.get(name)

    @routes.post("/{name}/calibrate", response_model=Model)
    def calibrate(name: Name, body: WhyRequest, user: Engineer) -> dict[str, Any]:
        """Calibrate on the sampled parts that review found good: a new version."""
        station.recalibration.recalibrate(name, user.name, clean(body.why) or "asked for")
        return station.models.get(name)

    @routes.post("/{name}/drift/reset", status_code=204)
    def reset_drift(name: Name, body: DriftResetRequest, user: Engineer) -> None:
        """Begin the drift test anew, after its cause was removed or it was found to be none."""
        station.reset_drift(name, body.false_alarm, user.name)

    return routes


def _rates(text: str) -> list[float]:
    try:
        rates = [float(rate) for rate in text.split(",")]
    except ValueError:
        rates = []
    if not 1 <= len(rates) <= 100 or not all(1e-9 < rate < 1 for rate in rates):
        raise Problem(422, "rates: give 1 to 100 numbers between 0 and 1, with commas between them")
    return rates
