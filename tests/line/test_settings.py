"""A line's tables: what they may hold, and one line for what they may not."""

from __future__ import annotations

from typing import Any

import pytest

from anomalyvfm.errors import InputError
from anomalyvfm.line.settings import LineSettings

WEBHOOK = {"kind": "webhook", "url": "https://mes.local/hook"}
MQTT = {"kind": "mqtt", "host": "broker", "topic": "plant/3"}


def test_nothing_is_needed() -> None:
    settings = LineSettings({}, "line.toml")
    assert settings.sinks == {}
    assert settings.gate.min_contrast == 1.0


def test_all_is_read() -> None:
    settings = LineSettings(
        {
            "gate": {"size": [640, 480], "min-focus": 2},
            "fields": {"line": "3", "pattern": "{serial}"},
            "shifts": {"early": "06:00"},
            "sinks": {"mes": {**WEBHOOK, "secret-file": "s", "send": ["anomalous"]}, "broker": MQTT},
        },
        "line.toml",
    )
    assert settings.gate.size == (640, 480)
    assert settings.gate.min_focus == 2
    assert settings.fields.fixed == {"line": "3"}
    assert settings.sinks["mes"].send == ("anomalous",)
    assert settings.sinks["broker"].kind == "mqtt"


def test_what_people_see_of_an_address_has_no_secret_in_it() -> None:
    url = "https://me:secret@mes.local:8443/a/hook?token=secret#secret"
    settings = LineSettings({"sinks": {"mes": {"kind": "webhook", "url": url}}}, "")
    assert settings.sinks["mes"].where == "https://mes.local:8443/a/hook"


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"sinks": {"mes": {"kind": "fax"}}}, "sinks.mes"),
        ({"sinks": {"mes": {"kind": "webhook"}}}, "sinks.mes.url: is missing"),
        ({"sinks": {"mes": {**WEBHOOK, "url": "ftp://x"}}}, "sinks.mes.url"),
        ({"sinks": {"mes": {**WEBHOOK, "colour": 1}}}, "sinks.mes.colour: no such key"),
        ({"sinks": {"mes": {**WEBHOOK, "timeout": 0}}}, "sinks.mes.timeout"),
        ({"sinks": {"mes": {**WEBHOOK, "send": ["bad"]}}}, "sinks.mes.send.0"),
        ({"sinks": {"a b": WEBHOOK}}, "sinks.a b"),
        ({"sinks": {"b": {**MQTT, "topic": "plant/#"}}}, "sinks.b.topic"),
        ({"sinks": {"b": {**MQTT, "port": 0}}}, "sinks.b.port"),
        ({"sinks": "mes"}, "sinks"),
        ({"fields": {"colour": "red"}}, "fields.colour: no such key"),
        ({"fields": {"pattern": "{colour}"}}, "fields.pattern: .*no field 'colour'"),
        ({"shifts": {"early": "dawn"}}, "shifts.early"),
        ({"gate": {"max-torn": 2}}, "gate.max-torn"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tables: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"^line.toml: {says}") as caught:
        LineSettings(tables, "line.toml")
    assert "\n" not in str(caught.value)
