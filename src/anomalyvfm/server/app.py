"""The application: the station's routes behind the request middleware."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec
from typing import Any

from fastapi import FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from anomalyvfm.server import problems
from anomalyvfm.server.api import inspections, judge, line, models, once, reviews, session, shapes, whole
from anomalyvfm.server.auth.accounts import Accounts
from anomalyvfm.server.auth.guard import Gate
from anomalyvfm.server.auth.sessions import Sessions
from anomalyvfm.server.middleware import RequestMiddleware
from anomalyvfm.server.settings import Settings
from anomalyvfm.server.station import Station
from anomalyvfm.version import __version__

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})

_PROBLEM = {
    "description": "A problem document",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemShape"}}},
}
_KEY = {
    "name": once.HEADER,
    "in": "header",
    "required": False,
    "description": "Of your choice: sent again with it, the request is not done again, for a day.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
}
_ABOUT = """
The inspection station: judge images, look at what was judged, correct it, and have the model learn from it.
Send a token as `Authorization: Bearer TOKEN`. Errors are problem documents (RFC 9457).
"""


def create_gate(settings: Settings) -> Gate:
    """Tokens as the settings say. Raises InputError for a token file or a folder that cannot be used."""
    if settings.token_file is None:
        return Gate(None, None)
    accounts = Accounts(settings.token_file)
    try:
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        sessions = Sessions(settings.data, accounts, settings.session_hours)
    except OSError as error:
        raise problems.cannot_start(settings.data, error) from None
    return Gate(accounts, sessions)


def create_app(station: Station, gate: Gate, hosts: Collection[str] | None = None) -> FastAPI:
    """``hosts`` are the names the station answers to; without tokens those of the loopback address."""
    app = FastAPI(
        title="AnomalyVFM inspection station",
        version=__version__,
        description=_ABOUT,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses={status: _PROBLEM for status in ("4XX", "5XX")},
    )
    app.state.gate = gate
    problems.install(app)
    for room in (judge, inspections, reviews, models, line, whole, session):
        app.include_router(room.router(station))
    if find_spec("anomalyvfm.server.pages") is not None:
        from anomalyvfm.server.pages import router

        app.include_router(router(station, gate.users))
    limits = station.settings.limits
    if hosts is None and gate.accounts is None:
        hosts = LOOPBACK
    app.add_middleware(
        RequestMiddleware, request_bytes=limits.request_bytes, seconds=limits.seconds, hosts=hosts
    )
    if station.settings.proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(station.settings.proxies))
    _complete_document(app)
    return app


def _complete_document(app: FastAPI) -> None:
    """Add to the OpenAPI document what answers refer to: tokens, and shapes no route declares."""
    build = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = build()
            parts = found.setdefault("components", {})
            for shape in (shapes.ProblemShape, shapes.Inspection, shapes.Region):
                schema = shape.model_json_schema(ref_template="#/components/schemas/{model}")
                schema.pop("$defs", None)
                parts.setdefault("schemas", {}).setdefault(shape.__name__, schema)
            parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for path, operations in found["paths"].items():
                for method, operation in operations.items():
                    if method == "post" and path != "/api/session":
                        operation.setdefault("parameters", []).append(_KEY)
                    operation["security"] = [] if path in ("/health", "/ready") else [{"token": []}]
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
