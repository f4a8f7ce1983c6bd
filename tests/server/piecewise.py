"""Requests sent and answered piece by piece: the test client sees an answer only when it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

Message = MutableMapping[str, Any]


async def ask(
    app: Any,
    method: str,
    path: str,
    heard: Callable[[Message], Awaitable[None]],
    headers: Mapping[str, str] | None = None,
    body: Sequence[bytes] = (),
) -> None:
    """Send a request to the application itself; more of its body never comes. ``heard`` gets the answer."""
    pieces = [{"type": "http.request", "body": piece, "more_body": True} for piece in body]

    async def receive() -> Message:
        if pieces:
            return pieces.pop(0)
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    sent = {"host": "localhost", **(headers or {})}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
    }
    await asyncio.wait_for(app(scope, receive, heard), 10)
