"""Messages of a real broker ask for frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalyvfm.errors import InputError
from anomalyvfm.line.fields import FIELDS
from anomalyvfm.line.settings import BrokerSettings
from anomalyvfm.line.sources import opening
from anomalyvfm.line.sources.asking import fields_of
from anomalyvfm.line.sources.camera import Frame
from anomalyvfm.line.sources.opening import CameraSource
from anomalyvfm.line.states import States
from tests.line.sinks.mosquitto import PROGRAM, Broker
from tests.line.sources.test_cameras import source
from tests.waiting import until


class Still:
    """A camera that always has a frame."""

    streams = False

    def __init__(self, *_: Any) -> None:
        pass

    def open(self) -> None:
        pass

    def advance(self) -> None:
        pass

    def frame(self) -> np.ndarray:
        return np.zeros((4, 4, 3), np.uint8)

    def close(self) -> None:
        pass


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed here; apt-get install mosquitto")
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


def publish(broker: Broker, payload: str, retain: bool = False) -> None:
    from paho.mqtt import publish as paho

    paho.single("cell/part", payload, qos=1, retain=retain, hostname="127.0.0.1", port=broker.port)


def test_a_message_is_a_frame_and_a_broker_that_was_away_is_found_again(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("httpx")
    from anomalyvfm.line.sources import snapshot

    monkeypatch.setattr(snapshot, "Snapshot", Still)
    table = {"host": "127.0.0.1", "port": broker.port, "topic": "cell/part"}
    settings = source(kind="snapshot", url="http://camera/a.png", trigger="message", broker=table)
    assert isinstance(settings.broker, BrokerSettings)
    publish(broker, '{"serial": "of yesterday"}', retain=True)
    states = States()
    frames: list[Frame] = []

    def take(frame: Frame) -> bool:
        frames.append(frame)
        return True

    camera = CameraSource("top", settings, states, take, lambda *_: None)
    camera.start()
    try:
        until(lambda: set(states.all()) == {"source top", "trigger of top"})
        publish(broker, '{"serial": "A-1", "lot": 7, "colour": "red"}')
        until(lambda: len(frames) == 1)
        assert frames[0].fields == {"serial": "A-1", "lot": "7"}
        broker.stop()
        until(lambda: "trigger of top" in states.troubles())
        broker.start()
        until(lambda: states.troubles() == {})
        publish(broker, "")
        until(lambda: len(frames) == 2)
        assert frames[1].fields == {}
    finally:
        camera.end()
        camera.join()
    assert states.troubles() == {}, "an end that was wanted is no trouble"


@pytest.mark.parametrize(
    "payload", [b"", b"  ", b"part!", b"[1]", b"\xff", b'{"serial": ["x"]}', b"[" * 100_000]
)
def test_whatever_a_message_says_it_asks_for_a_frame(payload: bytes) -> None:
    assert fields_of(payload) == {}


def test_what_a_message_says_of_a_part_is_one_line_each() -> None:
    said = fields_of(b'{"line": "3\\n4", "serial": 12, "operator": "", "shift": true, "lot": "L"}')
    assert said == {"line": "34", "serial": "12", "lot": "L"}
    assert set(said) < set(FIELDS)


def test_what_is_missing_for_a_source_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda package: None)
    with pytest.raises(InputError, match=r"sources\.top: needs cv2; pip install 'anomalyvfm\[camera\]'"):
        CameraSource("top", source(kind="camera", address=0), States(), lambda _: True, lambda *_: None)
