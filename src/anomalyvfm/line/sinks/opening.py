"""From settings to sinks."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from anomalyvfm.errors import InputError
from anomalyvfm.line.delivery import Delivery, Outbox
from anomalyvfm.line.settings import AnySink, ModbusSettings, MqttSettings, WebhookSettings
from anomalyvfm.line.sinks.sink import Sink
from anomalyvfm.line.states import States

_NEEDS = {
    "webhook": ("httpx", "line"),
    "mqtt": ("paho", "line"),
    "modbus": ("pymodbus", "plc"),
    "opcua": ("asyncua", "plc"),
}


def open_deliveries(settings: Mapping[str, AnySink], outbox: Outbox, states: States) -> list[Delivery]:
    """One for each sink of a line, not started; nothing is connected yet.

    Raises InputError where what one of them needs is not there.
    """
    sinks = {name: _open(name, of_one) for name, of_one in settings.items()}
    return [
        Delivery(name, sink, outbox, states, settings[name].send, settings[name].max_age)
        for name, sink in sinks.items()
    ]


def _open(name: str, settings: AnySink) -> Sink:
    package, extra = _NEEDS[settings.kind]
    if find_spec(package) is None:
        raise InputError(f"sinks.{name}: {settings.kind} needs {package}; pip install 'anomalyvfm[{extra}]'")
    if isinstance(settings, WebhookSettings):
        from anomalyvfm.line.sinks.webhook import Webhook

        return Webhook(settings)
    if isinstance(settings, MqttSettings):
        from anomalyvfm.line.sinks.mqtt import Mqtt

        return Mqtt(settings, name)
    if isinstance(settings, ModbusSettings):
        from anomalyvfm.line.sinks.modbus import ModbusCoil

        return ModbusCoil(settings)
    from anomalyvfm.line.sinks.opcua import OpcUaServer

    return OpcUaServer(settings)
