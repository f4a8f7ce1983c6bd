"""A server of OPC UA: the last verdict, counters and an alarm, for a PLC or a SCADA system to read."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from anomalyvfm.line.fields import FIELDS
from anomalyvfm.line.messages import Message
from anomalyvfm.line.sinks.sink import Refusal, SinkDownError

if TYPE_CHECKING:
    from anomalyvfm.line.settings import OpcUaSettings

NAMESPACE = "urn:anomalyvfm:line"
_NUMBER, _TEXT, _SCORE, _YES = "number", "text", "score", "yes or no"
_LAST = {
    "Number": _NUMBER,
    "Id": _TEXT,
    "At": _TEXT,
    "Outcome": _TEXT,
    "Score": _SCORE,
    "Message": _TEXT,
    **{name.capitalize(): _TEXT for name in FIELDS},
}
_COUNTERS = {"Good": _NUMBER, "Anomalous": _NUMBER, "Refused": _NUMBER}


class OpcUaServer:
    """Variables below ``Inspection``: ``Last``, ``Counters`` since the start, ``Alarm``; to be read alone."""

    def __init__(self, settings: OpcUaSettings) -> None:
        # It tells of each client that comes and goes.
        logging.getLogger("asyncua").setLevel(logging.ERROR)
        self._settings = settings
        self._server: Any = None
        self._variables: dict[str, tuple[Any, Any]] = {}
        self._counts = dict.fromkeys(_COUNTERS, 0)
        self._in_a_row = 0

    def send(self, messages: Sequence[Message]) -> Iterator[Refusal | None]:
        self._start()
        for message in messages:
            self._show(message)
            yield None

    def beat(self) -> None:
        self._start()

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _show(self, message: Message) -> None:
        content = message.content
        outcome = message.outcome.capitalize()
        self._counts[outcome] += 1
        self._in_a_row = 0 if message.outcome == "good" else self._in_a_row + 1
        last = {
            "Id": message.id,
            "At": content["at"],
            "Outcome": message.outcome,
            "Score": float(content.get("score", float("nan"))),
            "Message": message.body,
            **{name.capitalize(): content["fields"].get(name, "") for name in FIELDS},
        }
        for name, value in last.items():
            self._set(f"Last.{name}", value)
        self._set(f"Counters.{outcome}", self._counts[outcome])
        self._set("Alarm", self._in_a_row >= self._settings.alarm_after)
        # Last of all: whoever waits for it to change finds all else as it belongs to this part.
        self._set("Last.Number", message.number)

    def _start(self) -> None:
        if self._server is not None:
            return
        from asyncua import ua
        from asyncua.sync import Server

        kinds = {
            _NUMBER: (ua.VariantType.Int64, 0),
            _TEXT: (ua.VariantType.String, ""),
            _SCORE: (ua.VariantType.Double, float("nan")),
            _YES: (ua.VariantType.Boolean, False),
        }
        server = Server()
        try:
            server.set_endpoint(self._settings.endpoint)
            server.set_server_name("AnomalyVFM")
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
            index = server.register_namespace(NAMESPACE)
            root = server.nodes.objects.add_object(index, "Inspection")
            for folder, names in (("Last", _LAST), ("Counters", _COUNTERS), ("", {"Alarm": _YES})):
                parent = root.add_object(index, folder) if folder else root
                for name, kind in names.items():
                    of_kind, first = kinds[kind]
                    path = f"{folder}.{name}" if folder else name
                    node = parent.add_variable(ua.NodeId(path, index), name, first, varianttype=of_kind)
                    self._variables[path] = node, of_kind
            server.start()
        except Exception as error:  # its own kinds, and the system's
            server.tloop.stop()
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SinkDownError(f"{self._settings.endpoint}: cannot be served ({reason})") from error
        self._server = server

    def _set(self, path: str, value: Any) -> None:
        from asyncua import ua

        node, kind = self._variables[path]
        node.write_value(ua.Variant(value, kind))
