"""The tables. Times are seconds since 1970 in UTC; files are named by the SHA-256 of their content."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_HASH = String(64)
_FIELD = String(100)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012 - read by SQLAlchemy


class StationRow(Base):
    """Whose database this is; one row."""

    __tablename__ = "station"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)


class ModelRow(Base):
    __tablename__ = "models"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    active: Mapped[int]
    """Number of the version that judges."""
    is_default: Mapped[bool] = mapped_column(default=False)
    held_back: Mapped[dict[str, Any] | None]
    """A calibration that waits for an engineer."""


class VersionRow(Base):
    """A model as it was at one time; never changed once written."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("model", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(ForeignKey("models.name"))
    number: Mapped[int]
    parent: Mapped[int | None]
    action: Mapped[str] = mapped_column(String(20))
    by: Mapped[str] = mapped_column(String(100))
    at: Mapped[float]
    why: Mapped[str]
    folder: Mapped[str] = mapped_column(String(100))
    """Under the model's folder of the station."""
    source: Mapped[str | None] = mapped_column(_HASH)
    """Seal of the model folder it was imported from."""
    images: Mapped[int]
    calibration: Mapped[dict[str, Any]]
    inspection_id: Mapped[int | None]
    added: Mapped[str | None] = mapped_column(_HASH, index=True)
    """Image this version learned, or in which it confirmed a defect, and its parent had not."""
    removed: Mapped[str | None] = mapped_column(_HASH, index=True)
    """Image it forgot, or of which it took back the defect."""
    outline: Mapped[list[Any] | None]
    """That of the defect, where somebody drew it."""
    compared: Mapped[dict[str, Any] | None]
    """What it says of reviewed parts, and what the version before said; null where not compared."""


class PartFields:
    """Who a part is, as far as it is known: `line.fields.FIELDS`."""

    line: Mapped[str | None] = mapped_column(_FIELD)
    product: Mapped[str | None] = mapped_column(_FIELD)
    lot: Mapped[str | None] = mapped_column(_FIELD)
    serial: Mapped[str | None] = mapped_column(_FIELD)
    operator: Mapped[str | None] = mapped_column(_FIELD)
    shift: Mapped[str | None] = mapped_column(_FIELD)


class InspectionRow(PartFields, Base):
    __tablename__ = "inspections"
    __table_args__ = (
        Index(None, "model", "id"),
        Index(None, "model", "at"),
        Index(None, "model", "version"),
        Index(None, "model", "kind"),
        Index(None, "label", "anomalous", "sampled"),
        Index(None, "lot"),
        Index(None, "serial"),
        {"sqlite_autoincrement": True},  # a number given away is never given to another part
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(index=True)
    hour: Mapped[int]
    """Whole hours since 1970, which both databases group by alike."""
    model: Mapped[str] = mapped_column(ForeignKey("models.name"))
    version: Mapped[int]
    name: Mapped[str] = mapped_column(String(200))
    by: Mapped[str] = mapped_column(String(100))
    score: Mapped[float]
    p_value: Mapped[float]
    threshold: Mapped[float]
    promised: Mapped[bool | None]
    light: Mapped[float | None]
    low_threshold: Mapped[float]
    high_threshold: Mapped[float]
    anomalous: Mapped[bool]
    regions: Mapped[list[Any]]
    width: Mapped[int]
    height: Mapped[int]
    input_frame: Mapped[dict[str, Any]]
    ms: Mapped[float]
    image: Mapped[str] = mapped_column(_HASH, index=True)
    map: Mapped[str] = mapped_column(_HASH, index=True)
    bytes: Mapped[int]
    """Of image and map together."""
    sampled: Mapped[bool]
    label: Mapped[str | None] = mapped_column(String(10))
    """Of the review in force, as what follows."""
    kind: Mapped[str | None] = mapped_column(String(60))
    """Of defect, where a person has said which."""
    review_id: Mapped[int | None]
    reviewed_by: Mapped[str | None] = mapped_column(String(100))
    reviewed_at: Mapped[float | None]


class GoodPatchRow(Base):
    """The good patch that an odd region was most like, as the model that judged had it."""

    __tablename__ = "good_patches"

    inspection_id: Mapped[int] = mapped_column(
        ForeignKey("inspections.id", ondelete="CASCADE"), primary_key=True
    )
    region: Mapped[int] = mapped_column(primary_key=True)
    """Its number among the inspection's regions, from 1."""
    picture: Mapped[str] = mapped_column(_HASH, index=True)
    """The whole good image in the model's frame, as small as the model keeps it; an array file."""
    bbox: Mapped[list[Any]]
    """In pixels of that image as it was; it may reach over its border."""
    width: Mapped[int]
    height: Mapped[int]


class ReviewRow(Base):
    __tablename__ = "reviews"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    inspection_id: Mapped[int] = mapped_column(ForeignKey("inspections.id", ondelete="CASCADE"), index=True)
    label: Mapped[str] = mapped_column(String(10))
    kind: Mapped[str | None] = mapped_column(String(60))
    by: Mapped[str] = mapped_column(String(100))
    at: Mapped[float]
    why: Mapped[str]
    outline: Mapped[list[Any] | None]
    """Polygons of corners [x, y] in pixels of the image, in which the defect lies."""
    undone_by: Mapped[str | None] = mapped_column(String(100))
    undone_at: Mapped[float | None]


class JobRow(Base):
    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(ForeignKey("models.name"))
    by: Mapped[str] = mapped_column(String(100))
    at: Mapped[float]
    fields: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Of all its parts."""


class JobItemRow(Base):
    __tablename__ = "job_items"
    __table_args__ = (Index(None, "job_id", "position"), Index(None, "state", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    position: Mapped[int]
    name: Mapped[str] = mapped_column(String(200))
    image: Mapped[str] = mapped_column(_HASH, index=True)
    state: Mapped[str] = mapped_column(String(10))
    """waiting, done, failed"""
    inspection_id: Mapped[int | None]
    problem: Mapped[str | None]


class DriftRow(Base):
    """The state of a model's drift test, in step with the inspections it has seen."""

    __tablename__ = "drift"

    model: Mapped[str] = mapped_column(ForeignKey("models.name"), primary_key=True)
    version: Mapped[int]
    state: Mapped[dict[str, Any]]
    alarm_at: Mapped[float | None]


class AnswerRow(Base):
    """What was answered to a request that came with an ``Idempotency-Key``."""

    __tablename__ = "answers"

    by: Mapped[str] = mapped_column(String(100), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    request: Mapped[str] = mapped_column(_HASH)
    """Of method, address and body."""
    at: Mapped[float] = mapped_column(index=True)
    status: Mapped[int]
    body: Mapped[str] = mapped_column(Text)
    """JSON."""


class RefusalRow(PartFields, Base):
    """A frame or file of a source that got no verdict."""

    __tablename__ = "refusals"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(index=True)
    source: Mapped[str] = mapped_column(String(40))
    model: Mapped[str] = mapped_column(String(100))
    """Which would have judged."""
    name: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(Text)
    picture: Mapped[bytes | None] = mapped_column(deferred=True)
    """A small JPEG, of the newest ones that could be decoded."""


class LineSourceRow(Base):
    """What people have changed of the station's sources while it runs."""

    __tablename__ = "line_sources"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    settings: Mapped[str | None] = mapped_column(Text)
    """As JSON, of a source that was added; None for one of the station's file."""
    paused: Mapped[bool]


class SourceFileRow(Base):
    """A file that a watched folder had, as it was when it was judged or refused."""

    __tablename__ = "source_files"

    source: Mapped[str] = mapped_column(String(40), primary_key=True)
    path: Mapped[str] = mapped_column(_HASH, primary_key=True)
    """SHA-256 of the path below the folder: paths are of any length, and of any bytes."""
    size: Mapped[int] = mapped_column(BigInteger)
    modified: Mapped[int] = mapped_column(BigInteger)
    """In nanoseconds."""
    refused: Mapped[bool]


class SinkRow(Base):
    """Up to which inspection, and which refusal, a sink has been told."""

    __tablename__ = "sinks"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    told: Mapped[int]
    refusals_told: Mapped[int] = mapped_column(server_default="0")


class PutOffRow(Base):
    """An inspection that a sink would not take, not yet or never; a refusal has its number below zero."""

    __tablename__ = "put_off"

    sink: Mapped[str] = mapped_column(String(40), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    given_up: Mapped[bool]
    reason: Mapped[str] = mapped_column(Text)


class AuditRow(Base):
    __tablename__ = "audit"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    by: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(40))
    object: Mapped[str] = mapped_column(String(200))
    detail: Mapped[str]
