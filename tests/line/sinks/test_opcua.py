"""A server of OPC UA, read by a real client."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from anomalyvfm.line.messages import Message, Outcome
from anomalyvfm.line.settings import OpcUaSettings
from anomalyvfm.line.sinks.opcua import NAMESPACE, OpcUaServer
from anomalyvfm.line.sinks.sink import SinkDownError
from tests.line.sinks.mosquitto import free_port

pytest.importorskip("asyncua")


def message(number: int, outcome: Outcome, **content: Any) -> Message:
    body = {"at": "2026-11-30T06:00:00.000+00:00", "fields": {"lot": "L7"}, **content}
    return Message(number, f"id-{number}", outcome, json.dumps(body), None)


def sink(port: int) -> OpcUaServer:
    given = {"kind": "opcua", "endpoint": f"opc.tcp://127.0.0.1:{port}/line", "alarm-after": 2}
    return OpcUaServer(OpcUaSettings.model_validate(given))


def test_a_client_reads_the_last_verdict_counters_and_the_alarm() -> None:
    from asyncua.sync import Client
    from asyncua.ua.uaerrors import UaError

    port = free_port()
    told = sink(port)
    told.beat()
    with Client(f"opc.tcp://127.0.0.1:{port}/line") as client:
        index = client.get_namespace_index(NAMESPACE)

        def value(path: str) -> Any:
            return client.get_node(f"ns={index};s={path}").read_value()

        assert (value("Last.Number"), value("Last.Outcome"), value("Alarm")) == (0, "", False)
        assert (
            list(told.send([message(1, "good", score=0.5), message(2, "anomalous", score=3.5)])) == [None] * 2
        )
        assert (value("Last.Number"), value("Last.Id"), value("Last.Score")) == (2, "id-2", 3.5)
        assert (value("Last.Outcome"), value("Last.Lot"), value("Last.Serial")) == ("anomalous", "L7", "")
        assert json.loads(value("Last.Message"))["score"] == 3.5
        assert value("Alarm") is False
        list(told.send([message(3, "refused", error="decode: no image")]))
        assert math.isnan(value("Last.Score"))
        assert value("Alarm") is True
        assert [value(f"Counters.{name}") for name in ("Good", "Anomalous", "Refused")] == [1, 1, 1]
        list(told.send([message(4, "good", score=0.1)]))
        assert value("Alarm") is False
        with pytest.raises(UaError):
            client.get_node(f"ns={index};s=Alarm").write_value(True)
    told.close()


def test_an_address_that_is_taken_is_said_and_had_when_it_is_free() -> None:
    port = free_port()
    first, second = sink(port), sink(port)
    first.beat()
    with pytest.raises(SinkDownError, match="cannot be served"):
        second.beat()
    first.close()
    second.beat()
    second.close()
