"""Errors as RFC 9457 problem documents: what is wrong in one line, and never a trace."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from anomalyvfm.errors import InputError

_log = logging.getLogger(__name__)

_TITLES = {
    400: "malformed request",
    401: "not signed in",
    403: "not allowed",
    404: "not found",
    405: "method not allowed",
    409: "changed meanwhile",
    413: "too large",
    415: "type not supported",
    422: "cannot be used",
    429: "too much at once",
    500: "internal error",
    503: "not available now",
    504: "took too long",
    507: "no space left",
}


class Problem(Exception):
    """An answer other than success; ``detail`` is one line: what is wrong and what to do."""

    def __init__(self, status: int, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after

    def as_dict(self) -> dict[str, Any]:
        return {
            "type": "about:blank",
            "title": _TITLES.get(self.status, "error"),
            "status": self.status,
            "detail": self.detail,
        }

    def response(self) -> JSONResponse:
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.as_dict(), self.status, headers, media_type="application/problem+json")


def as_problem(error: BaseException) -> Problem:
    """The answer to give for an exception, wherever it came from."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, InputError):
        return Problem(422, str(error))
    if isinstance(error, ClientDisconnect):
        _log.debug("a client hung up before its request was whole")
        return Problem(400, "the request was cut off")
    if isinstance(error, HTTPException):
        return Problem(error.status_code, str(error.detail))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem(507, "the station's disk is full; free space or shorten the retention")
    if isinstance(error, DBAPIError):
        reason = str(error.orig)
        if "disk is full" in reason or "No space left" in reason:
            return Problem(507, "the database has no space left; free space or shorten the retention")
        _log.error("database: %s", " ".join(reason.split()))
        return Problem(503, "the database does not answer or is locked; try again", retry_after=2)
    if isinstance(error, SQLAlchemyError | OSError):
        _log.error("store: %s", error)
        return Problem(503, "the store cannot be read or written now; try again", retry_after=2)
    _log.error("unexpected", exc_info=error)
    return Problem(500, "an error of the station's own; its log says more")


def cannot_start(data: Path, error: OSError | DBAPIError) -> InputError:
    """The one line for a folder or a database that takes nothing when a station starts."""
    reason = error.strerror if isinstance(error, OSError) else error.orig
    return InputError(
        f"{data}: the station cannot start ({' '.join(str(reason).split())}); free the disk or choose another"
        " --data"
    )


def install(app: FastAPI) -> None:
    """Let every exception of ``app`` become a problem document."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        problem = as_problem(error)
        _log.info("%d %s %s: %s", problem.status, request.method, request.url.path, problem.detail)
        return problem.response()

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()[:5]
        )
        return Problem(422, faults).response()

    app.add_exception_handler(RequestValidationError, invalid)
    for kind in (Problem, InputError, HTTPException, SQLAlchemyError, OSError, Exception):
        app.add_exception_handler(kind, answer)
