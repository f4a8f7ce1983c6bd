"""From settings to sinks."""

from __future__ import annotations

from datetime import tzinfo
from importlib.util import find_spec

from anomalyvfm.errors import InputError
from anomalyvfm.line.delivery import Delivery, Outbox
from anomalyvfm.line.fields import Shifts
from anomalyvfm.line.settings import (
    AnySink,
    LineSettings,
    ModbusSettings,
    MqttSettings,
    TableSettings,
    WebhookSettings,
)
from anomalyvfm.line.sinks.sink import Sink
from anomalyvfm.line.states import States

_NEEDS = {
    "webhook": ("httpx", "line"),
    "mqtt": ("paho", "line"),
    "modbus": ("pymodbus", "plc"),
    "opcua": ("asyncua", "plc"),
    "parquet": ("pyarrow", "parquet"),
}


def open_deliveries(
    line: LineSettings, outbox: Outbox, states: States, zone: tzinfo | None = None
) -> list[Delivery]:
    """One for each sink of a line, not started; nothing is connected yet.

    ``zone`` is the site's; None: the machine's. Raises InputError where what one of them needs is not there.
    """
    sinks = {name: _open(name, of_one, line.fields.shifts, zone) for name, of_one in line.sinks.items()}
    return [
        Delivery(name, sink, outbox, states, line.sinks[name].send, line.sinks[name].max_age)
        for name, sink in sinks.items()
    ]


def _open(name: str, settings: AnySink, shifts: Shifts, zone: tzinfo | None) -> Sink:
    kind = settings.format if isinstance(settings, TableSettings) else settings.kind
    package, extra = _NEEDS.get(kind, (None, None))
    if package is not None and find_spec(package) is None:
        raise InputError(f"sinks.{name}: {kind} needs {package}; pip install 'anomalyvfm[{extra}]'")
    if isinstance(settings, WebhookSettings):
        from anomalyvfm.line.sinks.webhook import Webhook

        return Webhook(settings)
    if isinstance(settings, MqttSettings):
        from anomalyvfm.line.sinks.mqtt import Mqtt

        return Mqtt(settings, name)
    if isinstance(settings, ModbusSettings):
        from anomalyvfm.line.sinks.modbus import ModbusCoil

        return ModbusCoil(settings)
    if isinstance(settings, TableSettings):
        from anomalyvfm.line.sinks.table import ShiftTables

        return ShiftTables(settings, shifts, zone)
    from anomalyvfm.line.sinks.opcua import OpcUaServer

    return OpcUaServer(settings)
