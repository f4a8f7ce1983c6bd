"""From settings to a sink."""

from __future__ import annotations

from importlib.util import find_spec

from anomalyvfm.errors import InputError
from anomalyvfm.line.settings import MqttSettings, WebhookSettings
from anomalyvfm.line.sinks.sink import Sink

_NEEDS = {"webhook": "httpx", "mqtt": "paho"}


def open_sink(name: str, settings: WebhookSettings | MqttSettings) -> Sink:
    """Ready to send; nothing is connected yet. Raises InputError where what it needs is not there."""
    if find_spec(_NEEDS[settings.kind]) is None:
        raise InputError(
            f"sinks.{name}: {settings.kind} needs {_NEEDS[settings.kind]}; pip install 'anomalyvfm[line]'"
        )
    if isinstance(settings, WebhookSettings):
        from anomalyvfm.line.sinks.webhook import Webhook

        return Webhook(settings)
    from anomalyvfm.line.sinks.mqtt import Mqtt

    return Mqtt(settings, name)
