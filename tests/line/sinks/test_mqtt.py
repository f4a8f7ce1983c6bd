"""MQTT against a real mosquitto: verdicts, the retained state, the last will, and a broker that goes away."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anomalyvfm.errors import InputError
from anomalyvfm.line.messages import Message
from anomalyvfm.line.settings import MqttSettings
from anomalyvfm.line.sinks.mqtt import Mqtt
from anomalyvfm.line.sinks.sink import SinkDownError
from tests.line.sinks.mosquitto import PROGRAM, Broker, Listener

pytest.importorskip("paho")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs mosquitto (apt-get install mosquitto)")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


def sink(broker: Broker, **settings: Any) -> Mqtt:
    given = {"kind": "mqtt", "host": "127.0.0.1", "port": broker.port, "topic": "plant/3", **settings}
    return Mqtt(MqttSettings.model_validate(given), "s")


def messages(count: int) -> list[Message]:
    return [
        Message(number, f"id-{number}", "good", f'{{"number": {number}}}', None) for number in range(count)
    ]


def test_verdicts_and_the_state_arrive(broker: Broker) -> None:
    listener = Listener(broker.port, "plant/#")
    told = sink(broker)
    assert list(told.send(messages(100))) == [None] * 100
    listener.until(lambda: len(listener.heard) == 101)
    assert listener.heard[0] == ("plant/3/state", {"state": "online"}, False)
    assert [content for topic, content, _ in listener.heard if topic == "plant/3/verdict"] == [
        {"number": number} for number in range(100)
    ]
    told.close()
    listener.until(lambda: len(listener.heard) == 102)
    assert listener.heard[-1][:2] == ("plant/3/state", {"state": "offline"})
    listener.close()


def test_whoever_comes_later_finds_the_state(broker: Broker) -> None:
    told = sink(broker)
    assert list(told.send(messages(1))) == [None]  # after the state
    listener = Listener(broker.port, "plant/#")
    listener.until(lambda: bool(listener.heard))
    assert listener.heard == [("plant/3/state", {"state": "online"}, True)]
    told.close()
    listener.close()


def test_the_last_will_is_published_when_the_sender_is_gone_without_a_word(broker: Broker) -> None:
    told = sink(broker)
    told.beat()
    listener = Listener(broker.port, "plant/#")
    listener.until(lambda: len(listener.heard) == 1)
    connection = told._client.socket()
    assert connection is not None
    told._client.loop_stop()
    connection.close()
    listener.until(lambda: len(listener.heard) == 2)
    assert listener.heard[-1][:2] == ("plant/3/state", {"state": "offline"})
    listener.close()


def test_a_broker_that_goes_and_comes_back_gets_what_it_missed(broker: Broker) -> None:
    told = sink(broker, timeout=1)
    assert list(told.send(messages(1))) == [None]
    broker.stop()
    with pytest.raises(SinkDownError, match=f"mqtt://127.0.0.1:{broker.port}: "):
        for _ in range(3):
            list(told.send(messages(2)))
    broker.start()
    listener = Listener(broker.port, "plant/3/verdict")
    assert list(told.send(messages(2))) == [None, None]
    listener.until(lambda: len(listener.heard) >= 2)
    assert [content["number"] for _, content, _ in listener.heard] == [0, 1]
    told.close()
    listener.close()


def test_no_broker_and_a_wrong_password_are_said_in_a_line(tmp_path: Path) -> None:
    users = tmp_path / "users"
    subprocess.run(["mosquitto_passwd", "-b", "-c", users, "line", "right"], check=True, capture_output=True)
    (tmp_path / "password").write_text("wrong\n")
    broker = Broker(tmp_path, str(users))
    told = sink(broker, username="line", **{"password-file": str(tmp_path / "password")}, timeout=2)
    with pytest.raises(SinkDownError, match="refused"):
        told.beat()
    broker.start()
    with pytest.raises(SinkDownError, match="the broker says: Not authorized"):
        told.beat()
    (tmp_path / "password").write_text("right\n")
    right = sink(broker, username="line", **{"password-file": str(tmp_path / "password")})
    right.beat()
    right.close()
    told.close()
    broker.stop()


def test_two_lines_with_sinks_of_one_name_do_not_disturb_each_other(broker: Broker) -> None:
    one, other = sink(broker), sink(broker)
    for _ in range(5):
        assert list(one.send(messages(1))) == [None]
        assert list(other.send(messages(1))) == [None]
    assert one._client.is_connected() and other._client.is_connected()
    one.close()
    other.close()


def test_a_password_that_cannot_be_read_is_refused(broker: Broker) -> None:
    with pytest.raises(InputError, match="no password can be read"):
        sink(broker, username="line", **{"password-file": "nowhere"})
