"""What a line's TOML file says: the gate, the fields of parts, and the sinks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from anomalyvfm.errors import InputError
from anomalyvfm.line import TABLES
from anomalyvfm.line.fields import FIELDS, FieldRules, NamePattern, Shifts
from anomalyvfm.line.gate import Gate
from anomalyvfm.line.messages import OUTCOMES, Outcome

_KINDS = ("webhook", "mqtt", "modbus", "opcua")
_SECRETS = re.compile(r"(?<=//)[^/@]*@|[?#].*")
_Positive = Annotated[float, Field(gt=0)]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]


class _Table(BaseModel):
    """Keys are written with dashes, as options are."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=False,
    )


class _SinkSettings(_Table):
    send: tuple[Outcome, ...] = OUTCOMES
    """Of which outcomes it hears."""
    timeout: _Positive = 5.0
    """Seconds for the other side to answer."""
    max_age: float | None = Field(default=None, gt=0)
    """Seconds after which a message is of no use any more; none: it always is."""


class WebhookSettings(_SinkSettings):
    kind: Literal["webhook"]
    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
    secret_file: Path | None = None
    """Without it messages are not signed."""
    ca_file: Path | None = None
    """Certificates to trust in place of the system's."""

    @property
    def where(self) -> str:
        """For people; what an address may have of a secret is left out."""
        return _SECRETS.sub("", self.url)


class MqttSettings(_SinkSettings):
    kind: Literal["mqtt"]
    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    topic: Annotated[str, Field(min_length=1, max_length=200)]
    username: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    client_id: str | None = None

    @property
    def where(self) -> str:
        """For people."""
        return f"mqtt{'s' if self.tls or self.ca_file else ''}://{self.host}:{self.port}/{self.topic}"

    @field_validator("topic")
    @classmethod
    def _is_to_publish(cls, topic: str) -> str:
        if set("+#\0").intersection(topic) or topic.startswith("$") or topic.endswith("/"):
            raise ValueError(
                "a topic to publish to has no + and #, no $ at its beginning and no / at its end"
            )
        return topic


class ModbusSettings(_SinkSettings):
    kind: Literal["modbus"]
    host: str
    coil: Annotated[int, Field(ge=0, le=65535)]
    """Its address, from 0."""
    port: Annotated[int, Field(ge=1, le=65535)] = 502
    unit: Annotated[int, Field(ge=0, le=255)] = 1
    pulse: Annotated[float, Field(ge=0, le=60)] = 0.2
    """Seconds that the coil stays on; 0: the PLC turns it off."""
    max_age: _Positive = 1.0
    """Seconds after which the part has gone by, and another one would be thrown out."""
    send: tuple[Outcome, ...] = ("anomalous", "refused")

    @property
    def where(self) -> str:
        """For people."""
        return f"modbus://{self.host}:{self.port}, unit {self.unit}, coil {self.coil}"


class OpcUaSettings(_SinkSettings):
    kind: Literal["opcua"]
    endpoint: Annotated[str, Field(pattern=r"^opc\.tcp://[^\s/]+")] = "opc.tcp://127.0.0.1:4840/anomalyvfm"
    alarm_after: Annotated[int, Field(ge=1)] = 3
    """So many parts in a row that are not good raise the alarm."""

    @property
    def where(self) -> str:
        """For people."""
        return self.endpoint


AnySink: TypeAlias = WebhookSettings | MqttSettings | ModbusSettings | OpcUaSettings
SinkSettings = Annotated[AnySink, Field(discriminator="kind")]


class _FieldTable(_Table):
    pattern: str | None = None
    line: str | None = None
    product: str | None = None
    lot: str | None = None
    serial: str | None = None
    operator: str | None = None
    shift: str | None = None


class _GateTable(_Table):
    size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] | None = None
    min_contrast: Annotated[float, Field(ge=0, le=127)] = Gate.min_contrast
    max_torn: Annotated[float, Field(ge=0, le=1)] = Gate.max_torn
    min_focus: Annotated[float, Field(ge=0)] = Gate.min_focus


class _LineTable(_Table):
    gate: _GateTable = _GateTable()
    fields: _FieldTable = _FieldTable()
    shifts: dict[str, time] = Field(default_factory=dict)
    sinks: dict[_Name, SinkSettings] = Field(default_factory=dict)


class LineSettings:
    """A line as its tables say, each part ready to use."""

    def __init__(self, tables: Mapping[str, Any], where: str) -> None:
        """``where``: the file the tables are from. Raises InputError for what they must not hold."""
        try:
            table = _LineTable.model_validate({key: tables[key] for key in TABLES if key in tables})
        except ValidationError as error:
            raise InputError(f"{where}: {_first(error)}") from None
        self.gate = Gate(**table.gate.model_dump())
        self.sinks: dict[str, AnySink] = dict(table.sinks)
        fixed = {name: value for name in FIELDS if (value := getattr(table.fields, name)) is not None}
        try:
            pattern = None if table.fields.pattern is None else NamePattern(table.fields.pattern)
        except InputError as error:
            raise InputError(f"{where}: fields.pattern: {error}") from None
        self.fields = FieldRules(fixed, pattern, Shifts(table.shifts))


def _first(error: ValidationError) -> str:
    """The first thing that is wrong: where it is, what it is."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in _KINDS)
    says = {"extra_forbidden": "no such key", "missing": "is missing"}.get(first["type"], first["msg"])
    return f"{place}: {says}"
