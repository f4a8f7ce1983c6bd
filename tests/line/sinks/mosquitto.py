"""A real broker, and somebody who listens to it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Broker:
    """mosquitto at a port of its own; it can be stopped and started again."""

    def __init__(self, folder: Path, users: str | None = None) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        allowed = f"password_file {users}" if users else "allow_anonymous true"
        self._config.write_text(f"listener {self.port} 127.0.0.1\n{allowed}\nuser root\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [PROGRAM, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < end, "mosquitto does not answer"
            time.sleep(0.02)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
            return True
        return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Listener:
    """Hears everything below a topic from now on: (topic, content, whether it was retained)."""

    def __init__(self, port: int, topic: str, tell: Callable[[str, Any, bool], None] | None = None) -> None:
        """``tell`` hears it too, when it comes."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard: list[tuple[str, Any, bool]] = []
        self._client = Client(CallbackAPIVersion.VERSION2)
        subscribed: list[Any] = []
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: subscribed.append(True)
        self._tell = tell
        self._client.on_message = self._hear
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self.until(lambda: bool(subscribed))

    def _hear(self, _: Any, __: Any, message: Any) -> None:
        heard = message.topic, json.loads(message.payload), message.retain
        self.heard.append(heard)
        if self._tell is not None:
            self._tell(*heard)

    def until(self, true: Callable[[], bool], seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, self.heard
            time.sleep(0.01)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
