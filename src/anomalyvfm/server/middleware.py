"""The outermost layer: host names, body sizes, the time limit, and headers on every answer."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anomalyvfm.server.problems import Problem

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
    " font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
]


class RequestMiddleware:
    """``hosts`` are the only names the station answers to, where given.

    A page elsewhere can point its own name at 127.0.0.1; a station without tokens answers to loopback
    names alone, so such a page reads nothing. ``seconds`` is the time until an answer must begin.
    """

    def __init__(
        self, app: ASGIApp, request_bytes: int, seconds: float, hosts: Collection[str] | None
    ) -> None:
        self._app = app
        self._request_bytes = request_bytes
        self._seconds = seconds
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Whatever can be had by GET can be asked after by HEAD.
        head = scope["method"] == "HEAD"
        scope = {**scope, "method": "GET"} if head else scope
        answer = _Answer(send, scope.get("scheme") == "https", head)
        if (problem := self._refusal(scope)) is not None:
            await problem.response()(scope, receive, answer)
            return
        task = asyncio.ensure_future(self._app(scope, self._counted(receive), answer))
        begun = asyncio.ensure_future(answer.begun.wait())
        try:
            await asyncio.wait({task, begun}, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
            if head and answer.begun.is_set():
                task.cancel()  # it may be a stream that never ends
                await asyncio.wait({task})
                return
            if task.done() or answer.begun.is_set():
                await task
                return
            # A handler in a thread cannot be interrupted; it ends on its own and nobody hears it.
            answer.closed = True
            task.cancel()
            late = Problem(504, f"no answer within {self._seconds:g} seconds; try again later", retry_after=5)
            await late.response()(scope, receive, _Answer(send, answer.secure, head))
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            begun.cancel()

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = dict(scope["headers"])
        if self._hosts is not None:
            host = headers.get(b"host", b"").decode("latin-1")
            name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
            if name not in self._hosts:
                return Problem(403, "without tokens the station answers to localhost alone")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            return Problem(400, "Content-Length is no number")
        return self._too_large() if int(length) > self._request_bytes else None

    def _too_large(self) -> Problem:
        return Problem(413, f"a request may have {self._request_bytes} bytes; send fewer or smaller images")

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._request_bytes:
                raise self._too_large()
            return message

        return counted


class _Answer:
    """Passes an answer on with the headers all answers have; of one to HEAD these alone."""

    def __init__(self, send: Send, secure: bool, head: bool) -> None:
        self._send = send
        self.secure = secure
        self._head = head
        self.begun = asyncio.Event()
        self.closed = False

    async def __call__(self, message: Message) -> None:
        if self.closed:
            return
        if message["type"] == "http.response.start":
            self.begun.set()
            given = {name for name, _ in message.get("headers", [])}
            extra = [header for header in _HEADERS if header[0] not in given]
            if b"cache-control" not in given:
                extra.append((b"cache-control", b"no-store"))
            if self.secure:
                extra.append((b"strict-transport-security", b"max-age=31536000"))
            message = {**message, "headers": [*message.get("headers", []), *extra]}
            if self._head:
                self.closed = True
                await self._send(message)
                message = {"type": "http.response.body"}
        await self._send(message)
