"""Clients of MQTT brokers, as a line's settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from paho.mqtt.client import Client

    from anomalyvfm.line.settings import BrokerSettings

KEEP_ALIVE_SECONDS = 15
AT_LEAST_ONCE = 1


def client_id(settings: BrokerSettings, name: str) -> str:
    """Its own: two clients of one name would take the connection from each other for ever."""
    return settings.client_id or f"anomalyvfm-{name}-{uuid4().hex[:8]}"


def new_client(settings: BrokerSettings, own_id: str, password: str | None) -> Client:
    """A client that is not connected yet."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2, client_id=own_id)
    if settings.username is not None:
        client.username_pw_set(settings.username, password)
    if settings.tls or settings.ca_file is not None:
        client.tls_set(ca_certs=None if settings.ca_file is None else str(settings.ca_file))
    return client
