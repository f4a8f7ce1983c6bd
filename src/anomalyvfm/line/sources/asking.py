"""Messages of a broker that ask for a frame: a light barrier's PLC has them published as a part goes by."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from typing import Any

from anomalyvfm.line.broker import AT_LEAST_ONCE, KEEP_ALIVE_SECONDS, client_id, new_client
from anomalyvfm.line.fields import FIELDS, plain
from anomalyvfm.line.secrets import read_password
from anomalyvfm.line.settings import BrokerSettings
from anomalyvfm.line.sources.camera import CameraDownError
from anomalyvfm.line.sources.feed import Feed
from anomalyvfm.line.states import States

_log = logging.getLogger(__name__)


class Asking:
    """Hears a topic for as long as it is open; a broker that is away is looked for again."""

    def __init__(self, settings: BrokerSettings, feed: Feed, states: States) -> None:
        self._settings = settings
        self._feed = feed
        self._states = states
        self._state = f"trigger of {feed.name}"
        self._is_ending = False
        self._client = new_client(
            settings, client_id(settings, f"{feed.name}-trigger"), read_password(settings.password_file)
        )
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 5)

    def start(self) -> None:
        self._client.connect_async(self._settings.host, self._settings.port, KEEP_ALIVE_SECONDS)
        self._client.loop_start()

    def close(self) -> None:
        self._is_ending = True
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: Any, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._trouble(f"the broker says: {reason}")
            return
        client.subscribe(self._settings.topic, AT_LEAST_ONCE)
        self._states.well(self._state)

    def _on_connect_fail(self, *_: Any) -> None:
        self._trouble("does not answer")

    def _on_disconnect(self, *_: Any) -> None:
        if not self._is_ending:
            self._trouble("the connection is lost")

    def _on_message(self, _: Any, __: Any, message: Any) -> None:
        if message.retain:  # of a part long gone
            return
        with suppress(CameraDownError):  # it is counted and told of
            self._feed.ask(fields_of(message.payload))

    def _trouble(self, why: str) -> None:
        self._states.trouble(self._state, f"{self._settings.where}: {why}; it is tried again")


def fields_of(payload: bytes) -> dict[str, str]:
    """What a message says of the part: a JSON object's texts and numbers under the names of fields.

    A message that is something else asks for a frame all the same.
    """
    try:
        said = json.loads(payload) if payload.strip() else {}
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        _log.warning("a trigger's message is no JSON object; nothing of it is kept")
        return {}
    told = {name: said[name] for name in FIELDS if type(said.get(name)) in (str, int)}  # true is no number
    return {name: text for name, value in told.items() if (text := plain(str(value)))}
