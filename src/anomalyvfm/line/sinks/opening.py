"""From settings to a sink."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from anomalyvfm.errors import InputError
from anomalyvfm.line.settings import MqttSettings, WebhookSettings
from anomalyvfm.line.sinks.sink import Sink

_NEEDS = {"webhook": "httpx", "mqtt": "paho"}


def open_sinks(settings: Mapping[str, WebhookSettings | MqttSettings]) -> dict[str, Sink]:
    """Those of a line, by name. Raises InputError where what one of them needs is not there."""
    return {name: _open(name, of_one) for name, of_one in settings.items()}


def _open(name: str, settings: WebhookSettings | MqttSettings) -> Sink:
    """Ready to send; nothing is connected yet."""
    if find_spec(_NEEDS[settings.kind]) is None:
        raise InputError(
            f"sinks.{name}: {settings.kind} needs {_NEEDS[settings.kind]}; pip install 'anomalyvfm[line]'"
        )
    if isinstance(settings, WebhookSettings):
        from anomalyvfm.line.sinks.webhook import Webhook

        return Webhook(settings)
    from anomalyvfm.line.sinks.mqtt import Mqtt

    return Mqtt(settings, name)
