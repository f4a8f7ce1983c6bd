"""The station as a process: HTTP in front, a clean end behind."""

from __future__ import annotations

import ipaddress
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from anomalyvfm.errors import InputError
from anomalyvfm.server.station import Station

_SECONDS_TO_FINISH = 60
_BACKLOG = 256


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """The address, at which nobody is answered yet. Raises InputError where it cannot be had."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise _taken(host, port, error) from None
    return bound


def serve(
    app: FastAPI,
    station: Station,
    bound: socket.socket,
    ready: Callable[[int], None] = lambda port: None,
) -> None:
    """Answer until SIGTERM or SIGINT; then finish what was accepted. ``ready`` is told the port.

    Raises InputError where somebody else has it by now.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        timeout_keep_alive=15,
        h11_max_incomplete_event_size=64 << 10,
        proxy_headers=False,
    )
    host, port = bound.getsockname()[:2]
    try:
        bound.listen(_BACKLOG)
    except OSError as error:
        raise _taken(host, port, error) from None
    # The server hands a signal on to whoever had it before, once it has stopped; by default that would end
    # the process before the station has finished.
    earlier = {number: signal.signal(number, _heard) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ready(port)
        _Server(config, station).run([bound])
    finally:
        bound.close()
        station.close()
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _taken(host: str, port: int, error: OSError) -> InputError:
    return InputError(f"{host}:{port}: cannot be served ({error.strerror}); choose another --port")


def _heard(number: int, frame: FrameType | None) -> None:
    """The server has acted on it."""


class _Server(uvicorn.Server):
    """Ends event streams first: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, station: Station) -> None:
        super().__init__(config)
        self._station = station

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._station.events.close()
        await super().shutdown(sockets)
