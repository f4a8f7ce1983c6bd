"""Verdicts to an MQTT broker, and whether this sender is there.

``TOPIC/verdict`` has each message, ``TOPIC/state`` whether there is anybody to judge: ``{"state":
"online"}``, retained, and ``offline`` as the last will, which the broker publishes when the connection ends
without a word.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anomalyvfm.line.broker import AT_LEAST_ONCE, KEEP_ALIVE_SECONDS, client_id, new_client
from anomalyvfm.line.messages import Message
from anomalyvfm.line.secrets import read_password
from anomalyvfm.line.sinks.sink import Refusal, SinkDownError

if TYPE_CHECKING:
    from paho.mqtt.client import Client

    from anomalyvfm.line.settings import MqttSettings

_OFFLINE = json.dumps({"state": "offline"})


class Mqtt:
    """A session with a broker. Messages are under way together and acknowledged one by one."""

    def __init__(self, settings: MqttSettings, name: str) -> None:
        self._settings = settings
        self._client_id = client_id(settings, name)
        self._password = read_password(settings.password_file)
        self._where = f"mqtt://{settings.host}:{settings.port}"
        self._connected = threading.Event()
        self._answered = threading.Event()
        """Set when the broker has said whether it lets us in: ``_answer``."""
        self._answer = "no answer"
        self._client = self._new_client()
        self._running = False

    def _new_client(self) -> Client:
        """One for each connection: it would send what was under way in another beside what the outbox has."""
        client = new_client(self._settings, self._client_id, self._password)
        client.will_set(self._topic("state"), _OFFLINE, AT_LEAST_ONCE, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        return client

    def send(self, messages: Sequence[Message]) -> Iterator[Refusal | None]:
        self._connect()
        topic = self._topic("verdict")
        under_way = [self._client.publish(topic, message.body, AT_LEAST_ONCE) for message in messages]
        until = time.monotonic() + self._settings.timeout
        for sent in under_way:
            try:
                sent.wait_for_publish(max(0.0, until - time.monotonic()))
            except (ValueError, RuntimeError) as error:  # it was never sent
                self._end()
                raise SinkDownError(f"{self._where}: {error}") from error
            if not sent.is_published():
                self._end()
                raise SinkDownError(f"{self._where}: did not acknowledge within {self._settings.timeout:g} s")
            yield None

    def beat(self) -> None:
        self._connect()

    def close(self) -> None:
        if self._connected.is_set():
            gone = self._client.publish(self._topic("state"), _OFFLINE, AT_LEAST_ONCE, retain=True)
            with suppress(ValueError, RuntimeError):  # else the last will says it
                gone.wait_for_publish(1.0)
        self._end()

    def _connect(self) -> None:
        if self._connected.is_set():
            return
        self._end()
        self._client = self._new_client()
        try:
            self._client.connect(self._settings.host, self._settings.port, KEEP_ALIVE_SECONDS)
        except (OSError, ValueError) as error:
            raise SinkDownError(f"{self._where}: {getattr(error, 'strerror', None) or error}") from error
        self._answer = "no answer"
        self._answered.clear()
        self._client.loop_start()
        self._running = True
        self._answered.wait(self._settings.timeout)
        if not self._connected.is_set():
            self._end()
            raise SinkDownError(f"{self._where}: {self._answer}")

    def _end(self) -> None:
        """Let go of the connection and of what is under way in it: the ledger has it all."""
        if self._running:
            self._client.disconnect()
            self._client.loop_stop()
            self._running = False
        self._connected.clear()

    def _on_connect(self, client: Any, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._answer = f"the broker says: {reason}"
            self._answered.set()
            return
        client.publish(self._topic("state"), json.dumps({"state": "online"}), AT_LEAST_ONCE, retain=True)
        self._connected.set()
        self._answered.set()

    def _on_disconnect(self, client: Any, *_: Any) -> None:
        if client is self._client:
            self._connected.clear()

    def _topic(self, below: str) -> str:
        return f"{self._settings.topic}/{below}"
