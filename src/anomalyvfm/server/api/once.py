"""What is sent twice with one ``Idempotency-Key`` is done once: the second time the first answer comes."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.types import Message

from anomalyvfm.server.auth.guard import gate_of
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.store import answers
from anomalyvfm.server.store.database import Database

_log = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
_LONGEST = 200
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')


def once(database: Database) -> type[APIRoute]:
    """The kind of route whose POSTs take the key. A key is of one user, and known for a day.

    Only what was done is kept: after an error, or a kill between the deed and its note, the same key does
    it anew.
    """
    under_way: set[tuple[str, str]] = set()  # the event loop's alone

    class Once(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handle_once(request: Request) -> Response:
                key = request.headers.get(HEADER)
                if key is None or request.method != "POST":
                    return await handle(request)
                if not 0 < len(key) <= _LONGEST or not key.isascii() or not key.isprintable():
                    raise Problem(422, f"{HEADER} has 1 to {_LONGEST} printable letters")
                gate = gate_of(request)
                user = await run_in_threadpool(gate.find, request)
                if user is None:
                    return await handle(request)  # which says so
                gate.check_origin(request, user)
                mine = (user.name, key)
                if mine in under_way:
                    raise Problem(409, f"the first request with this {HEADER} is not answered yet", 1)
                under_way.add(mine)
                try:
                    return await _answer(database, handle, request, *mine)
                finally:
                    under_way.discard(mine)

            return handle_once

    return Once


async def _answer(
    database: Database,
    handle: Callable[[Request], Coroutine[Any, Any, Response]],
    request: Request,
    by: str,
    key: str,
) -> Response:
    asked = _Fingerprint(request)

    async def receive() -> Message:
        message = await request.receive()
        asked.update(message.get("body", b""))
        return message

    hashed = Request(request.scope, receive)
    found = await run_in_threadpool(answers.find, database, by, key)
    if found is not None:
        async for _ in hashed.stream():
            pass
        if found.request != asked.hexdigest():
            raise Problem(422, f"this {HEADER} came with another request; draw a new one for each")
        headers = {"Idempotent-Replayed": "true"}
        return Response(found.body, found.status, headers, "application/json" if found.body else None)
    response = await handle(hashed)
    if response.status_code < 300:
        body = bytes(response.body).decode()
        try:
            given = (by, key, asked.hexdigest(), response.status_code, body)
            await run_in_threadpool(answers.keep, database, *given)
        except SQLAlchemyError as error:  # it is done all the same, and the answer says so
            _log.error("an answer is not kept for its key: %s", " ".join(str(error).split()))
    return response


class _Fingerprint:
    """A hash of a request: method, address and body, but for the boundary that each form has of its own."""

    def __init__(self, request: Request) -> None:
        url = request.url
        self._hash = hashlib.sha256(f"{request.method} {url.path}?{url.query}\n".encode())
        found = _BOUNDARY.search(request.headers.get("content-type", ""))
        self._boundary = found.group(1).encode("latin-1") if found else b""
        self._rest = b""

    def update(self, content: bytes) -> None:
        if not self._boundary:
            self._hash.update(content)
            return
        text = (self._rest + content).replace(self._boundary, b"")
        cut = max(0, len(text) - len(self._boundary) + 1)  # the next one may begin here
        self._hash.update(text[:cut])
        self._rest = text[cut:]

    def hexdigest(self) -> str:
        self._hash.update(self._rest)
        self._rest = b""
        return self._hash.hexdigest()
