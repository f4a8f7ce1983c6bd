"""What goes in and comes out, for checking and for the OpenAPI document."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from anomalyvfm.line.fields import FIELDS, LONGEST, plain
from anomalyvfm.server.store.inspections import InspectionFilter

Number = Annotated[int, Path(ge=1, le=(1 << 31) - 1)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Before = Annotated[int | None, Query(ge=1, le=(1 << 31) - 1, description="only numbers below this")]
Name = Annotated[str, Path(max_length=100)]
ModelQuery = Annotated[str | None, Query(max_length=100, description="name of a model; none: the default")]
VersionQuery = Annotated[
    int | None, Query(ge=1, le=(1 << 31) - 1, description="number of one of the model's versions")
]

INSPECTION: dict[str, Any] = {
    "id": 1042,
    "at": "2026-05-04T09:12:31.402Z",
    "model": "sheet_metal",
    "version": 3,
    "name": "cam1-000173.jpg",
    "fields": {"line": "3", "lot": "L7", "serial": "000173"},
    "score": 7.31842,
    "p_value": 0.009901,
    "threshold": 3.1,
    "promised": True,
    "light": None,
    "anomalous": True,
    "regions": [
        {
            "bbox": [211, 96, 260, 141],
            "area": 1422,
            "area_range": [310, 3018],
            "peak": 18.6,
            "zone": None,
            "nearest": {"image": "041.png", "bbox": [211, 80, 260, 125], "distance": 0.71},
            "layers": {"4": 0.64, "5": 0.36},
            "sees": {"4": "patterns", "5": "parts"},
        }
    ],
    "width": 640,
    "height": 640,
    "ms": 21.4,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "by": "line-1",
    "sampled": False,
    "label": None,
    "kind": None,
    "reviewed_by": None,
    "reviewed_at": None,
    "review_id": None,
}
PROBLEM: dict[str, Any] = {
    "type": "about:blank",
    "title": "too much at once",
    "status": 429,
    "detail": "64 images are waiting; send again in 2 s",
}


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Region(_Shape):
    bbox: tuple[int, int, int, int] = Field(description="x0, y0, x1, y1 in pixels; x1 and y1 one past it")
    area: int
    area_range: tuple[int, int] | None = Field(
        None, description="the area if its outline lay one patch of the map further in, or further out"
    )
    peak: float = Field(description="in standard deviations of good pixels")
    zone: str | None = Field(None, description="of the region of interest, in which its peak lies")
    nearest: dict[str, Any] | None = Field(
        None, description="good patch most like it: image, bbox on that, distance; null where none is kept"
    )
    layers: dict[str, float] | None = Field(
        None, description="share of each backbone layer in how odd it is; null where the model cannot tell"
    )
    sees: dict[str, str] | None = Field(None, description="what each of these layers mostly responds to")


class Inspection(_Shape):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [INSPECTION]})

    id: int
    at: str
    model: str
    version: int
    name: str
    fields: dict[str, str] = Field(
        description="who the part is, as far as it is known: line, product, lot, serial, operator, shift"
    )
    score: float = Field(description="standard deviations above the average good image")
    p_value: float = Field(description="share of good images that look at least as odd")
    threshold: float
    promised: bool | None = Field(
        description="whether the threshold keeps its false-alarm rate for any good parts; else it is an"
        " estimate, from too few; null for parts of before this was kept"
    )
    light: float | None = Field(
        description="what the score would be by brightness, contrast and colour of the whole image alone;"
        " null where the model does not judge these"
    )
    anomalous: bool
    regions: list[Region]
    width: int
    height: int
    ms: float
    sha256: str
    by: str
    sampled: bool = Field(description="chosen for review whatever the verdict")
    label: Literal["good", "defect", "unsure"] | None
    kind: str | None = Field(description="of defect, where a person has said which")
    reviewed_by: str | None
    reviewed_at: str | None
    review_id: int | None


class ProblemShape(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [PROBLEM]})

    type: str
    title: str
    status: int
    detail: str


class Milliseconds(_Shape):
    count: int
    p50: float | None
    p99: float | None


class SinkShape(_Shape):
    name: str
    kind: str
    to: str
    trouble: str | None = Field(description="what is wrong; null where it works")
    delivered: int = Field(description="since the station's start, as the numbers below")
    waiting: int
    refusals: int = Field(description="times a message was not taken")
    given_up: int = Field(description="messages refused for good")
    too_late: int
    ms: Milliseconds = Field(description="from the image's arrival to the sink's acknowledgement")


class SourceShape(_Shape):
    model_config = ConfigDict(populate_by_name=True)

    name: str
    kind: str
    from_: str = Field(alias="from")
    trigger: str | None = Field(description="time, motion or message; null for a folder")
    model: str | None = Field(description="null: the one that is taken when none is named")
    named_in: Literal["file", "page"] = Field(description="those of the station's file are changed there")
    trouble: str | None = Field(description="what is wrong; null where all is well")
    paused: bool = Field(description="it takes no images until a person says so")
    starting: bool = Field(description="it has not been reached yet, nor missed")
    judged: int = Field(description="since the station's start, as the numbers below")
    refused: int = Field(description="images that were no good")
    failed: int = Field(description="times an image could not be judged or kept")
    dropped: int = Field(description="frames for which there was no room")
    ended: bool = Field(description="a recording is over")
    last: str | None = Field(description="when the last image came")
    last_inspection: int | None = Field(description="the newest one of its images")


class Refusal(_Shape):
    number: int
    at: str
    source: str
    model: str
    name: str
    reason: str
    fields: dict[str, str]
    has_picture: bool


class Line(_Shape):
    sources: list[SourceShape]
    refusals: list[Refusal] = Field(description="the newest first")
    sinks: list[SinkShape]


class PauseRequest(_Shape):
    paused: bool


class Asked(_Shape):
    """A frame that was asked for."""

    source: str
    fields: dict[str, str]


class Result(_Shape):
    """An image of several: its inspection, or why there is none."""

    name: str
    inspection: Inspection | None = None
    problem: ProblemShape | None = None


class Results(_Shape):
    results: list[Result]


class Inspections(_Shape):
    items: list[Inspection]
    next: int | None = Field(description="pass it as `before` for the next page")


class Queue(_Shape):
    items: list[Inspection]
    waiting: int


class Job(_Shape):
    id: int
    model: str
    by: str
    at: str
    state: Literal["waiting", "running", "done"]
    total: int
    done: int
    failed: int


class Jobs(_Shape):
    items: list[Job]


class JobItem(_Shape):
    position: int
    name: str
    state: Literal["waiting", "done", "failed"]
    inspection_id: int | None
    problem: str | None


class JobItems(_Shape):
    items: list[JobItem]


Outline = Annotated[
    list[tuple[Annotated[float, Field(ge=0, le=65535)], Annotated[float, Field(ge=0, le=65535)]]],
    Field(min_length=3, max_length=500),
]


class ReviewRequest(_Shape):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"label": "good", "why": "only dust"}]}
    )

    label: Literal["good", "defect", "unsure"]
    why: str = Field("", max_length=500)
    kind: str = Field("", max_length=60, description="of defect, in the site's own words")
    outline: list[Outline] = Field(
        [], max_length=50, description="of the defect: polygons of corners [x, y] in pixels of the image"
    )
    seen_review: int | None = Field(
        None, description="the review looked at; 409 where another is in force by now"
    )


class Review(_Shape):
    id: int
    inspection_id: int
    label: str
    kind: str | None
    by: str
    at: str
    why: str
    outline: list[list[tuple[float, float]]] | None
    undone_by: str | None


class LearningShape(_Shape):
    action: Literal["learned", "forgotten", "confirmed", "taken_back", "none"]
    """Of a good part; of one with a defect."""
    version: int
    message: str


class Reviewed(_Shape):
    inspection: Inspection
    review: Review | None
    learning: LearningShape


class CalibrationShape(_Shape):
    images: int
    false_alarm_rate: float
    threshold: float
    promised: bool
    cross_fitted: bool | None = None
    """Whether some scores are of learned images; None where an earlier version did not keep it."""
    groups: int | None = None
    """How many independent groups the images are of; None where an earlier version did not keep it."""


class Compared(_Shape):
    now: int = Field(description="number of the version before")
    then: int = Field(description="number of this version; 0 where it is none yet")
    defects: int = Field(description="parts reviewed as defects, the newest, that both have judged")
    caught_now: int
    caught_then: int
    good: int = Field(description="likewise parts reviewed as good")
    passed_now: int
    passed_then: int


class Version(_Shape):
    number: int
    parent: int | None
    action: str
    by: str
    at: str
    why: str
    images: int
    calibration: CalibrationShape
    inspection_id: int | None
    active: bool
    kept: bool
    compared: Compared | None = Field(
        description="what it says of reviewed parts, once nothing else waited to be judged"
    )


class Versions(_Shape):
    items: list[Version]


class HeldBack(Compared):
    moves_far: bool = Field(description="whether the limit would rise beyond what chance explains")


class Model(_Shape):
    name: str
    default: bool
    loaded: bool
    active: Version
    versions: int
    held_back: HeldBack | None = Field(
        description="a calibration that has not followed by itself, because it would pass parts that were"
        " reviewed as defects or raise the limit beyond what chance explains; POST …/calibrate makes it"
    )
    description: dict[str, Any]


class Models(_Shape):
    items: list[Model]


class ActivateRequest(_Shape):
    version: int = Field(ge=1, le=(1 << 31) - 1)
    expected: int = Field(description="the version that judges now; 409 where another does")
    why: str = Field("", max_length=500)


class RateRequest(_Shape):
    rate: float = Field(gt=1e-9, lt=1, description="share of good parts that may be rejected")
    expected: int | None = Field(None, description="the version that judges now; 409 where another does")
    why: str = Field("", max_length=500)


class WhyRequest(_Shape):
    why: str = Field("", max_length=500)


class DefaultRequest(_Shape):
    name: str = Field(max_length=100)


class DriftResetRequest(_Shape):
    false_alarm: bool = False


class SignInRequest(_Shape):
    """A token, or a name and its PIN."""

    token: str = Field("", max_length=500)
    name: str = Field("", max_length=64)
    pin: str = Field("", max_length=20)


class UserShape(_Shape):
    name: str
    role: str
    signs_in_by: Literal["token", "PIN"]
    expires: str | None
    expired: bool
    locked: bool = Field(description="after too many wrong PINs, for a quarter of an hour at most")


class Users(_Shape):
    items: list[UserShape]


class SignedIn(_Shape):
    name: str
    role: str
    csrf: str


_FieldQuery = Annotated[str | None, Query(max_length=LONGEST)]


def _fields(
    line: _FieldQuery = None,
    product: _FieldQuery = None,
    lot: _FieldQuery = None,
    serial: _FieldQuery = None,
    operator: _FieldQuery = None,
    shift: _FieldQuery = None,
) -> dict[str, str]:
    given = {
        "line": line,
        "product": product,
        "lot": lot,
        "serial": serial,
        "operator": operator,
        "shift": shift,
    }
    return {name: plain(value) for name, value in given.items() if value}


def _part_fields(request: Request, fields: Annotated[dict[str, str], Depends(_fields)]) -> dict[str, str]:
    sent = {name: request.headers.get(f"x-part-{name}") for name in FIELDS}
    return {name: plain(value) for name, value in sent.items() if value} | fields


PartFields = Annotated[dict[str, str], Depends(_part_fields)]
"""Who the parts of a request are: by its address, else by headers, ``X-Part-Lot`` for lot."""


def _filter(
    fields: Annotated[dict[str, str], Depends(_fields)],
    model: Annotated[str | None, Query(max_length=100)] = None,
    version: Annotated[int | None, Query(ge=1, le=(1 << 31) - 1)] = None,
    anomalous: bool | None = None,
    label: Annotated[Literal["good", "defect", "unsure", "none"] | None, Query()] = None,
    sampled: bool | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    min_score: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    max_score: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    name: Annotated[
        str | None, Query(max_length=200, description="what the name holds, anywhere; capitals do not count")
    ] = None,
) -> InspectionFilter:
    return InspectionFilter(
        None if model is None else clean(model),
        version,
        anomalous,
        label,
        sampled,
        seconds(since),
        seconds(until),
        min_score,
        max_score,
        None if name is None else clean(name),
        fields,
    )


Filter = Annotated[InspectionFilter, Depends(_filter)]


def clean(text: str) -> str:
    """Without what a database would refuse: zero bytes and halves of characters."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def seconds(moment: datetime | None) -> float | None:
    """Since 1970; a time without a zone is in UTC."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    try:
        return moment.timestamp()
    except (OverflowError, ValueError):
        return 0.0
