"""What each page shows, as plain data: the template draws it, and the page's .json is it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlencode

from anomalyvfm.decision.calibration import images_needed
from anomalyvfm.line.fields import FIELDS, plain
from anomalyvfm.server.auth.guard import User
from anomalyvfm.server.pages.charts import gauge
from anomalyvfm.server.pages.language import N_, _, ngettext, number
from anomalyvfm.server.pages.query import chosen, day, identity, minute
from anomalyvfm.server.pages.wording import NEAR, contributions, drift_words, odds, score, word
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.statistics import Bucket, bucket_start
from anomalyvfm.server.store.inspections import InspectionFilter

if TYPE_CHECKING:
    from anomalyvfm.server.station import Station

Query = Mapping[str, str]
Data = dict[str, Any]

TILES = 60
"""On the wall, beside the latest part: they fill rows of 4, 5, 6, 10 or 12."""
TILES_ASIDE = 12
"""Likewise for each of several models side by side."""
LAST = 50
"""Parts whose rate the wall shows beside the day's: what the line does now."""
PLACES = 8
"""Odd places of a part that are shown one by one, the oddest first."""
SHIFTS = 6
"""That a report can be had of with one click."""
PAGE = 50
"""Parts in the list at a time."""
LAST_PARTS = 1000
"""What a change of the false-alarm promise is tried on."""
# Steps of the false-alarm slider: 1 in 1000 to 1 in 5, closer together where a step matters more.
RATES = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2)
DAY = timedelta(days=1)
SPANS: dict[str, tuple[str, timedelta, Bucket]] = {
    "day": (N_("24 hours"), DAY, "hour"),
    "week": (N_("7 days"), 7 * DAY, "day"),
    "month": (N_("30 days"), 30 * DAY, "day"),
}
"""What it is called, its length, and what a bar of a chart stands for."""
Label = Literal["none", "good", "defect", "unsure"]
# Stands in templates where the first part will be.
_BLANK = {
    "id": 0,
    "model": "",
    "name": "",
    "score": 0.0,
    "threshold": 0.0,
    "anomalous": False,
    "at": "1970-01-01T00:00:00Z",
}


def wall(station: Station, user: User, query: Query) -> Data:
    models = _names(station)
    model = chosen(query, "model", models)
    show = chosen(query, "show", ("rejected", "side"))
    aside = show == "side" and len(models) > 1
    anomalous = True if show == "rejected" else None
    most = TILES_ASIDE if aside else TILES
    last = station.inspections.newest(InspectionFilter(model=model or None), limit=LAST)
    lanes = [
        {
            "model": name,
            "items": station.inspections.newest(
                InspectionFilter(model=name or None, anomalous=anomalous), limit=most + 1
            ),
        }
        for name in (models if aside else [model])
    ]
    statistics = station.statistics(model=model or None, since=(_now() - DAY).timestamp())
    return {
        "models": models,
        "model": model,
        "show": show,
        "most": most,
        "near": NEAR,
        "lanes": lanes,
        "empty": not any(lane["items"] for lane in lanes),
        "last": {
            "inspections": len(last),
            "anomalous": sum(part["anomalous"] for part in last),
            "verdicts": "".join("r" if part["anomalous"] else "p" for part in last),
            "at": last[0]["at"] if last else None,
        },
        "blank": _BLANK,
        "waiting": station.inspections.review_queue(model=model or None, limit=1)["waiting"],
        "troubles": station.line_troubles(),
        "drifted": _drifted(station, [model] if model else models),
        "day": {name: statistics[name] for name in ("inspections", "anomalous", "defect_rate")},
    }


def review(station: Station, user: User, query: Query) -> Data:
    """The next part to review; ``show`` names one, as after an undo."""
    models = _names(station)
    model = chosen(query, "model", models)
    queue = station.inspections.review_queue(model=model or None, limit=2)
    waiting = list(queue["items"])
    shown = identity(query, "show")
    if shown is not None:
        waiting = [station.inspections.get(shown), *(part for part in waiting if part["id"] != shown)]
    data: Data = {"models": models, "model": model, "waiting": queue["waiting"]}
    data["following"] = waiting[1] if len(waiting) > 1 else None
    return data | (_seen_large(station, waiting[0]) if waiting else {"part": None})


def inspection(station: Station, user: User, query: Query, number: int) -> Data:
    part = station.inspections.get(number)
    older = station.inspections.newest(InspectionFilter(), before=number, limit=1)
    newer = station.inspections.newest(InspectionFilter(), after=number, limit=1)
    return _seen_large(station, part) | {
        "older": older[0]["id"] if older else None,
        "newer": newer[-1]["id"] if newer else None,
    }


def inspections(station: Station, user: User, query: Query) -> Data:
    models = _names(station)
    asked = {
        "name": query.get("name", "")[:200],
        "verdict": chosen(query, "verdict", ("rejected", "passed")),
        "label": chosen(query, "label", ("none", "good", "defect", "unsure")),
        "model": chosen(query, "model", models),
        "since": query.get("since", ""),
        "until": query.get("until", ""),
        **{field: plain(query.get(field, "")) for field in FIELDS},
    }
    since, until = (day(query, name, station.zone, name == "until") for name in ("since", "until"))
    before = identity(query, "before")
    anomalous = {"": None, "rejected": True, "passed": False}[asked["verdict"]]
    fitting = InspectionFilter(
        model=asked["model"] or None,
        anomalous=anomalous,
        label=cast("Label | None", asked["label"] or None),  # chosen() has checked it
        since=since.timestamp() if since else None,
        until=until.timestamp() if until else None,
        name=asked["name"] or None,
        fields={field: asked[field] for field in FIELDS if asked[field]},
    )
    found = station.inspections.newest(fitting, before=before, limit=PAGE + 1)
    given = {name: value for name, value in asked.items() if value}
    more = {**given, "before": found[PAGE - 1]["id"]} if len(found) > PAGE else None
    exported: dict[str, str] = {
        name: asked[name] for name in ("name", "label", "model", *FIELDS) if asked[name]
    }
    if anomalous is not None:
        exported["anomalous"] = str(anomalous).lower()
    exported |= {name: at.isoformat() for name, at in (("since", since), ("until", until)) if at is not None}
    return {
        "models": models,
        "filter": asked,
        # Where parts have a lot or a number it is asked for; by other fields one comes from a part's page.
        "fields": [
            field
            for field in FIELDS
            if asked[field] or (field in ("lot", "serial") and any(field in part["fields"] for part in found))
        ],
        "filtered": bool(given) or before is not None,
        "items": found[:PAGE],
        "first_url": _url("/inspections", given) if before is not None else None,
        "next_url": _url("/inspections", more) if more else None,
        "export": {
            kind: _url("/api/export", {"format": kind, **exported}) for kind in ("csv", "parquet", "coco")
        },
    }


def trends(station: Station, user: User, query: Query) -> Data:
    models = _names(station)
    model = chosen(query, "model", models, default=_default(station))
    span = chosen(query, "span", tuple(SPANS), default="day")
    length, bucket = SPANS[span][1:]
    now = _now()
    statistics = station.statistics(model=model or None, since=(now - length).timestamp(), bucket=bucket)
    return statistics | {
        "buckets": without_gaps(statistics["buckets"], now - length, now, bucket, station.zone),
        "models": models,
        "model": model,
        "span": span,
        "bucket": bucket,
        "drift": (statistics["drift"] or {"alarm": False}) | drift_words(statistics["drift"]),
        "spans": [
            {
                "name": _(each[0]),
                "url": _url("/trends", {"span": name, "model": model}),
                "current": name == span,
            }
            for name, each in SPANS.items()
        ],
    }


def report(station: Station, user: User, query: Query) -> Data:
    """Of a time, which is the present shift where none is asked for."""
    models = _names(station)
    shifts = station.shifts(SHIFTS)
    since, until = (minute(query, name, station.zone) for name in ("since", "until"))
    if since is None and until is None:
        _name, since, until = shifts[0]
    model = chosen(query, "model", models)
    fields = {field: text for field in FIELDS if (text := plain(query.get(field, "")))}
    wanted = InspectionFilter(
        model=model or None,
        since=since.timestamp() if since else None,
        until=until.timestamp() if until else None,
        fields=fields,
    )
    kept = {"model": model, **fields}
    return station.report(wanted) | {
        "models": models,
        "model": model,
        "fields": fields,
        "since": _minute(since),
        "until": _minute(until),
        "now": _now().isoformat(),
        "shifts": [
            {
                "name": name,
                "since": start.isoformat(),
                "url": _url("/report", {**kept, "since": _minute(start), "until": _minute(end)}),
                "current": (start, end) == (since, until),
            }
            for name, start, end in shifts
        ],
    }


def _minute(at: datetime | None) -> str:
    return "" if at is None else at.strftime("%Y-%m-%dT%H:%M")


def models(station: Station, user: User, query: Query) -> Data:
    return {"items": station.models.all()}


def model(station: Station, user: User, query: Query, name: str) -> Data:
    found = station.models.get(name)
    now = found["active"]["calibration"]["false_alarm_rate"]
    rates = sorted({*RATES, now})
    what_if = station.models.what_if(name, rates, last=LAST_PARTS)
    description = found.get("description") or {}
    return {
        "model": {key: value for key, value in found.items() if key != "description"},
        "versions": station.models.versions(name),
        "what_if": what_if,
        "now_index": rates.index(now),
        "images_needed": images_needed(now),
        "backbone": (description.get("backbone") or {}).get("name", "–"),
        "preset": (description.get("settings") or {}).get("name", "–"),
    }


def compare(station: Station, user: User, query: Query, name: str) -> Data:
    """Two versions of a model: what they are, and how what each has judged was found to be.

    Without numbers in the address: the version in use beside the one before it.
    """
    versions = station.models.versions(name)
    numbers = [each["number"] for each in versions]
    active = next(each for each in versions if each["active"])
    right = int(chosen(query, "right", [str(number) for number in numbers], str(active["number"])))
    others = [number for number in numbers if number != right] or numbers
    before = next((number for number in others if number < right), others[0])
    left = int(chosen(query, "left", [str(number) for number in numbers], str(before)))
    sides = []
    for chosen_number in (left, right):
        judged = station.statistics(model=name, bucket="day", version=chosen_number)
        judged = {key: judged[key] for key in judged if key not in ("buckets", "drift", "model", "version")}
        version = next(each for each in versions if each["number"] == chosen_number)
        sides.append(version | {"judged": judged})
    shown = [side["judged"]["threshold"] for side in sides]
    for side in sides:
        if side["judged"]["scores"]:
            shown += side["judged"]["histogram"]["edges"]
    return {"model": name, "numbers": numbers, "sides": sides, "ends": [min(shown), max(shown)]}


def check_admin(user: User) -> None:
    if not user.may("admin"):
        raise Problem(403, f"this needs the role admin; {user.name} is {user.role}")


def line(station: Station, user: User, query: Query) -> Data:
    return {**station.line(), "models": _names(station)}


def audit(station: Station, user: User, query: Query) -> Data:
    check_admin(user)
    items = station.audit(identity(query, "before"), PAGE)
    more = {"before": items[-1]["id"]} if len(items) == PAGE else None
    return {"items": items, "next_url": _url("/audit", more) if more else None}


def upload(station: Station, user: User, query: Query) -> Data:
    models = _names(station)
    return {"models": models, "model": chosen(query, "model", models, default=_default(station))}


def roi(station: Station, user: User, query: Query) -> Data:
    """The part over whose image a region of interest is drawn, where one is named."""
    number = identity(query, "inspection")
    return {"part": None if number is None else station.inspections.get(number)}


def outline(station: Station, user: User, query: Query, number: int) -> Data:
    """The part in whose image a defect is outlined, and the outline that somebody drew before."""
    part = station.inspections.get(number)
    return {
        "part": part,
        "outline": station.inspections.outline(number) or [],
        "kinds": station.inspections.kinds(part["model"]),
        "next": "/review" if query.get("lane") else f"/inspections/{number}",
    }


def login(query: Query) -> Data:
    asked = query.get("next", "")
    # Only a page of this station: "//host" and "/\host" lead elsewhere.
    here = asked.startswith("/") and not asked.startswith(("//", "/\\")) and asked.isprintable()
    return {"next": asked if here else "/wall"}


def _seen_large(station: Station, part: Data) -> Data:
    said = {"verdict": word("rejected" if part["anomalous"] else "passed"), "score": score(part["score"])}
    found = len(part["regions"])
    described = [part["name"] or _("Part"), _("%(verdict)s with score %(score)s") % said]
    if found:
        described.append(ngettext("%(num)s odd place", "%(num)s odd places", found) % {"num": number(found)})
    return {
        "part": part,
        "words": odds(part["p_value"]),
        "describe": _(", ").join(described),
        "outline": station.inspections.outline(part["id"]) or [],
        "scale": gauge(part["score"], part["threshold"]),
        "kinds": station.inspections.kinds(part["model"]),
        "places": [_place(part, number) for number in range(1, min(len(part["regions"]), PLACES) + 1)],
    }


def _place(part: Data, number: int) -> Data:
    """An odd place of a part, numbered from 1, and why it is odd, as the verdict said."""
    region = part["regions"][number - 1]
    x0, y0, x1, y1 = region["bbox"]
    nearest, layers, sees = (region.get(key) for key in ("nearest", "layers", "sees"))
    return {
        "number": number,
        "width": x1 - x0,
        "height": y1 - y0,
        "peak": region["peak"],
        "nearest": nearest and {"image": nearest["image"], "distance": nearest["distance"]},
        "picture": nearest and f"/api/inspections/{part['id']}/regions/{number}.jpg",
        "contributions": contributions(layers, sees) if layers and sees else None,
    }


def without_gaps(
    buckets: list[Data], since: datetime, until: datetime, bucket: Bucket, zone: tzinfo
) -> list[Data]:
    """Buckets from ``since`` to ``until`` with the empty ones among them, which the statistics leave out."""
    known = {_instant(each["start"]).timestamp(): each for each in buckets}
    start = bucket_start(since.timestamp(), bucket, zone)
    empty = {"inspections": 0, "anomalous": 0, "defect_rate": None, "mean_score": None}
    filled = []
    while start <= until:
        filled.append({**empty, **known.get(start.timestamp(), {}), "start": start.isoformat()})
        # A day and an hour on, by the clock, is always in the next day, also in one of 23 or 25 hours.
        step = timedelta(hours=1) if bucket == "hour" else timedelta(hours=25)
        start = bucket_start(start.timestamp() + step.total_seconds(), bucket, zone)
    return filled


def _drifted(station: Station, names: list[str]) -> list[Data]:
    """The models whose drift test has raised its alarm."""
    tests = {name: station.drift_test(name) for name in names}
    return [{"model": name, **drift_words(test)} for name, test in tests.items() if test and test["alarm"]]


def _instant(iso: str) -> datetime:
    return datetime.fromisoformat(iso.replace("Z", "+00:00"))


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _names(station: Station) -> list[str]:
    return [each["name"] for each in station.models.all()]


def _default(station: Station) -> str:
    models = station.models.all()
    return next((each["name"] for each in models if each["default"]), models[0]["name"] if models else "")


def _url(path: str, query: Mapping[str, Any]) -> str:
    return f"{path}?{urlencode(query)}" if query else path
