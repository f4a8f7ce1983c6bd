"""News for whoever listens: threads publish, event streams listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

_BEHIND = 1000
"""Events a listener may be behind before it is let go; it comes back and asks for what it missed."""
_QUIET_SECONDS = 15.0


@dataclass(frozen=True)
class Event:
    kind: str
    data: dict[str, Any]
    id: int | None = None

    def encode(self) -> str:
        number = "" if self.id is None else f"id: {self.id}\n"
        return f"{number}event: {self.kind}\ndata: {json.dumps(self.data, allow_nan=False)}\n\n"


class Events:
    """Any thread tells; each listener of the event loop hears everything since it came."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: set[asyncio.Queue[Event | None]] = set()
        self._closed = False

    def publish(self, *events: Event) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._pass_on, events)

    def close(self) -> None:
        """End every stream, so that the server can stop. From the event loop's thread."""
        self._closed = True
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)

    def listen(self) -> asyncio.Queue[Event | None]:
        """A queue of what is told from now on; pass it to :meth:`stream`. From the event loop's thread."""
        self._loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Event | None] = asyncio.Queue(_BEHIND)
        if self._closed:
            queue.put_nowait(None)
        self._listeners.add(queue)
        return queue

    async def stream(self, queue: asyncio.Queue[Event | None]) -> AsyncIterator[Event | None]:
        """What comes through the queue; None when nothing came for a while. Ends with the station."""
        try:
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), _QUIET_SECONDS)
                except asyncio.TimeoutError:
                    yield None
                    continue
                if event is None:
                    return
                yield event
        finally:
            self._listeners.discard(queue)

    def _pass_on(self, events: tuple[Event, ...]) -> None:
        for queue in list(self._listeners):
            if queue.qsize() + len(events) < _BEHIND:
                for event in events:
                    queue.put_nowait(event)
                continue
            self._listeners.discard(queue)
            queue.put_nowait(None)  # the one place kept free for it
