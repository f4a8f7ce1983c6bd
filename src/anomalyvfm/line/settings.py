"""What a line's TOML file says: the sources, the gate, the fields of parts, and the sinks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from anomalyvfm.errors import InputError, without_secrets
from anomalyvfm.line import TABLES
from anomalyvfm.line.barcodes import Barcodes
from anomalyvfm.line.fields import FIELDS, CodePattern, FieldRules, NamePattern, Shifts
from anomalyvfm.line.gate import Gate
from anomalyvfm.line.messages import OUTCOMES, Outcome

_KINDS = ("webhook", "mqtt", "modbus", "opcua", "table", "folder", "snapshot", "video", "camera", "genicam")
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
    max_age: float | None = Field(default=None, gt=0)
    """Seconds after which a message is of no use any more; none: it always is."""


class _AnsweredSettings(_SinkSettings):
    timeout: _Positive = 5.0
    """Seconds for the other side to answer."""


class WebhookSettings(_AnsweredSettings):
    kind: Literal["webhook"]
    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
    secret_file: Path | None = None
    """Without it messages are not signed."""
    ca_file: Path | None = None
    """Certificates to trust in place of the system's."""

    @property
    def where(self) -> str:
        """For people; what an address may have of a secret is left out."""
        return without_secrets(self.url)


class BrokerSettings(_Table):
    """A broker of MQTT, and the topic there."""

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
    def _is_one_topic(cls, topic: str) -> str:
        if set("+#\0").intersection(topic) or topic.startswith("$") or topic.endswith("/"):
            raise ValueError("one topic has no + and #, no $ at its beginning and no / at its end")
        return topic


class MqttSettings(_AnsweredSettings, BrokerSettings):
    kind: Literal["mqtt"]


class ModbusSettings(_AnsweredSettings):
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


class TableSettings(_SinkSettings):
    kind: Literal["table"]
    folder: Path
    format: Literal["csv", "parquet"] = "csv"

    @property
    def where(self) -> str:
        """For people."""
        return f"{self.folder}, {self.format}"


AnySink: TypeAlias = WebhookSettings | MqttSettings | ModbusSettings | OpcUaSettings | TableSettings
SinkSettings = Annotated[AnySink, Field(discriminator="kind")]


class _Fields(_Table):
    line: str | None = None
    product: str | None = None
    lot: str | None = None
    serial: str | None = None
    operator: str | None = None
    shift: str | None = None

    @property
    def known(self) -> dict[str, str]:
        return {name: value for name in FIELDS if (value := getattr(self, name)) is not None}


class _FieldTable(_Fields):
    pattern: str | None = None


_Share = Annotated[float, Field(ge=0, le=1)]


class _BarcodeTable(_Table):
    pattern: str = "{serial}"
    formats: tuple[str, ...] = ()
    area: tuple[_Share, _Share, _Share, _Share] = (0.0, 0.0, 1.0, 1.0)

    @field_validator("area")
    @classmethod
    def _has_an_inside(cls, area: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        left, top, right, bottom = area
        if left >= right or top >= bottom:
            raise ValueError("left, top, right and bottom, in this order, as shares of the picture")
        return area


class _SourceSettings(_Table):
    model: str | None = None
    """Which of the station's models judges; none: the one it takes when none is named."""
    fields: _Fields = _Fields()
    """Of the parts that come from here."""


class FolderSettings(_SourceSettings):
    kind: Literal["folder"]
    folder: Path
    then: Literal["leave", "delete"] = "leave"
    """What becomes of a file that was judged; the station keeps its own copy. One that is refused is left."""
    settle: Annotated[float, Field(ge=0)] = 0.5
    """Seconds that a file must not have changed, where the system cannot tell whether it is being written."""

    @property
    def where(self) -> str:
        """For people."""
        return str(self.folder)


class _CameraSettings(_SourceSettings):
    trigger: Literal["time", "motion", "message"] = "time"
    every: _Positive | None = None
    """Seconds between two frames that are judged, or with ``motion`` looked at; none: 1, or 0.1."""
    motion: Annotated[float, Field(gt=0, le=255)] = 8.0
    """Grey levels by which some place of the picture must change for something to have moved."""
    empty: Path | None = None
    """A picture of the place without a part, which ``motion`` does not have judged."""
    broker: BrokerSettings | None = None
    """Who else may ask for a frame: a message to a topic of MQTT."""
    timeout: _Positive = 5.0
    """Seconds for the camera to answer."""

    @model_validator(mode="after")
    def _has_what_its_trigger_takes(self) -> _CameraSettings:
        if self.broker is not None and self.trigger != "message":
            raise ValueError('broker: is for trigger = "message"')
        if self.empty is not None and self.trigger != "motion":
            raise ValueError('empty: is for trigger = "motion"')
        if self.every is not None and self.trigger == "message":
            raise ValueError('every: has no meaning with trigger = "message"')
        return self


class SnapshotSettings(_CameraSettings):
    kind: Literal["snapshot"]
    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
    username: str | None = None
    password_file: Path | None = None
    login: Literal["digest", "basic"] = "digest"
    ca_file: Path | None = None
    """Certificates to trust in place of the system's."""

    @property
    def where(self) -> str:
        """For people; what an address may have of a secret is left out."""
        return without_secrets(self.url)

    @field_validator("trigger")
    @classmethod
    def _sees_no_motion(cls, trigger: str) -> str:
        if trigger == "motion":
            raise ValueError("single pictures show no motion; use a stream, or time or message")
        return trigger


class VideoSettings(_CameraSettings):
    kind: Literal["video"]
    file: Path
    repeat: bool = False

    @property
    def where(self) -> str:
        """For people."""
        return str(self.file)


class StreamSettings(_CameraSettings):
    kind: Literal["camera"]
    address: int | Annotated[str, Field(min_length=1)]
    """A URL such as rtsp://, a device such as /dev/video0, or a device's number."""
    size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] | None = None
    """Width and height that a USB camera is asked for; none: its own."""

    @property
    def where(self) -> str:
        """For people; what an address may have of a secret is left out."""
        return without_secrets(str(self.address))


class GenicamSettings(_CameraSettings):
    kind: Literal["genicam"]
    producer: Path
    """The camera maker's GenTL producer, a .cti file."""
    serial: str | None = None
    """Of the camera; none: the only one there is."""
    features: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Set before it starts, as ``ExposureTime = 5000``."""

    @property
    def where(self) -> str:
        """For people."""
        return f"{self.producer.name}: {self.serial or 'the only camera'}"


AnyCamera: TypeAlias = SnapshotSettings | VideoSettings | StreamSettings | GenicamSettings
AnySource: TypeAlias = FolderSettings | AnyCamera
SourceSettings = Annotated[AnySource, Field(discriminator="kind")]


class _GateTable(_Table):
    size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] | None = None
    min_contrast: Annotated[float, Field(ge=0, le=127)] = Gate.min_contrast
    max_torn: Annotated[float, Field(ge=0, le=1)] = Gate.max_torn
    min_focus: Annotated[float, Field(ge=0)] = Gate.min_focus


class _LineTable(_Table):
    gate: _GateTable = _GateTable()
    fields: _FieldTable = _FieldTable()
    barcode: _BarcodeTable | None = None
    shifts: dict[str, time] = Field(default_factory=dict)
    sources: dict[_Name, SourceSettings] = Field(default_factory=dict)
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
        self.sources: dict[str, AnySource] = dict(table.sources)
        self.sinks: dict[str, AnySink] = dict(table.sinks)
        try:
            pattern = None if table.fields.pattern is None else NamePattern(table.fields.pattern)
        except InputError as error:
            raise InputError(f"{where}: fields.pattern: {error}") from None
        self.barcodes = None if table.barcode is None else _barcodes(table.barcode, where)
        code = None if self.barcodes is None else self.barcodes.pattern
        self.fields = FieldRules(table.fields.known, pattern, Shifts(table.shifts), code)


def _barcodes(table: _BarcodeTable, where: str) -> Barcodes:
    try:
        pattern = CodePattern(table.pattern)
    except InputError as error:
        raise InputError(f"{where}: barcode.pattern: {error}") from None
    barcodes = Barcodes(pattern, table.formats, table.area)
    try:
        barcodes.check()
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return barcodes


def _first(error: ValidationError) -> str:
    """The first thing that is wrong: where it is, what it is."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in _KINDS)
    says = {"extra_forbidden": "no such key", "missing": "is missing"}.get(first["type"], first["msg"])
    return f"{place}: {says}"
