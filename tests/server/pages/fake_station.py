"""A station of plain lists: what the pages ask of the real one, with parts made up."""

from __future__ import annotations

from datetime import datetime, time, timedelta, timezone
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from anomalyvfm.line.fields import Shifts
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.store.inspections import InspectionFilter

START = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)
LIMIT = 2.5


def part(number: int, score: float = 0.3, **changes: Any) -> dict[str, Any]:
    """An inspection as the REST interface gives it."""
    anomalous = score > LIMIT
    return {
        "id": number,
        "at": (START + timedelta(seconds=7 * number)).isoformat().replace("+00:00", "Z"),
        "model": "can",
        "version": 3,
        "name": f"part_{number:04}.png",
        "score": score,
        "p_value": 0.008 if anomalous else 0.4,
        "threshold": LIMIT,
        "promised": True,
        "light": None,
        "anomalous": anomalous,
        "regions": [{"bbox": [10, 20, 60, 50], "area": 900, "peak": 9.1}] if anomalous else [],
        "width": 640,
        "height": 480,
        "ms": 41.3,
        "sha256": f"{number:064x}",
        "fields": {"lot": "L7"},
        "by": "camera-1",
        "sampled": False,
        "label": None,
        "reviewed_by": None,
        "reviewed_at": None,
        "review_id": None,
        "kind": None,
    } | changes


def version(number: int, active: bool = False, **changes: Any) -> dict[str, Any]:
    return {
        "number": number,
        "parent": number - 1 or None,
        "action": "import" if number == 1 else "learn",
        "by": "ada",
        "at": START.isoformat(),
        "why": "false alarm",
        "images": 118 + number,
        "calibration": {"images": 124, "false_alarm_rate": 0.01, "threshold": LIMIT, "promised": True},
        "inspection_id": None if number == 1 else 7,
        "active": active,
        "kept": True,
        "compared": None,
    } | changes


def model(name: str = "can", default: bool = True, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "default": default,
        "loaded": True,
        "active": version(3, active=True),
        "versions": 3,
        "held_back": None,
        "description": {"backbone": {"name": "efficientnet-lite0"}, "settings": {"name": "v2"}},
    } | changes


class FakeArchive:
    """The parts in the order they came."""

    def __init__(self, parts: list[dict[str, Any]]) -> None:
        self._parts = parts
        self.asked: list[InspectionFilter] = []

    def newest(
        self, filter: InspectionFilter, before: int | None = None, after: int | None = None, limit: int = 50
    ) -> list[dict[str, Any]]:
        self.asked.append(filter)
        fits = [
            each
            for each in reversed(self._parts)
            if (filter.model is None or each["model"] == filter.model)
            and (filter.anomalous is None or each["anomalous"] == filter.anomalous)
            and (filter.label is None or (each["label"] or "none") == filter.label)
            and (filter.name is None or each["name"].startswith(filter.name))
            and (before is None or each["id"] < before)
            and (after is None or each["id"] > after)
        ]
        return fits[-limit:] if after is not None else fits[:limit]

    def outline(self, number: int) -> list[Any] | None:
        return [[[1, 1], [9, 1], [9, 9]]] if self.get(number)["label"] == "defect" else None

    def kinds(self, model: str | None = None) -> list[str]:
        return sorted({each["kind"] for each in self._parts if each["kind"]})

    def get(self, number: int) -> dict[str, Any]:
        for each in self._parts:
            if each["id"] == number:
                return each
        raise Problem(404, f"inspection {number}: not here")

    def review_queue(self, model: str | None = None, limit: int = 20) -> dict[str, Any]:
        waiting = [
            each
            for each in self._parts
            if each["label"] is None
            and (each["anomalous"] or each["sampled"])
            and model in (None, each["model"])
        ]
        return {"items": waiting[:limit], "waiting": len(waiting)}


class FakeCatalogue:
    """Models of the same versions, and what other promises would have rejected of the parts."""

    def __init__(self, parts: list[dict[str, Any]], models: list[dict[str, Any]]) -> None:
        self._parts = parts
        self.all_models = models
        self.all_versions = [version(3, active=True), version(2), version(1)]

    def all(self) -> list[dict[str, Any]]:
        return self.all_models

    def get(self, name: str) -> dict[str, Any]:
        for each in self.all_models:
            if each["name"] == name:
                return each
        raise Problem(404, f"model {name}: not here")

    def versions(self, name: str) -> list[dict[str, Any]]:
        return self.all_versions

    def what_if(self, name: str, rates: list[float], last: int = 1000) -> dict[str, Any]:
        judged = self._parts[-last:]
        curve = [
            {"rate": rate, "threshold": LIMIT + 2 * (0.01 - rate), "promised": rate >= 1 / 125}
            for rate in rates
        ]
        for step in curve:
            step["rejected"] = sum(each["score"] > step["threshold"] for each in judged)
            step["caught"] = sum(
                each["label"] == "defect" and each["score"] > step["threshold"] for each in judged
            )
        now = {"rate": 0.01, "threshold": LIMIT, "rejected": sum(each["anomalous"] for each in judged)}
        now["caught"] = sum(each["anomalous"] and each["label"] == "defect" for each in judged)
        defects = sum(each["label"] == "defect" for each in judged)
        return {"parts": len(judged), "defects": defects, "now": now, "curve": curve}


class FakeStation:
    """Parts, models, and what the statistics say; change the lists at will."""

    def __init__(self, parts: list[dict[str, Any]] | None = None, models: list[dict[str, Any]] | None = None):
        self.parts = parts or []
        self.inspections = FakeArchive(self.parts)
        self.models = FakeCatalogue(self.parts, [model()] if models is None else models)
        self.drift: dict[str, Any] | None = None
        self.zone = ZoneInfo("UTC")

    def shifts(self, count: int) -> list[tuple[str | None, datetime, datetime]]:
        return Shifts({"1": time(6), "2": time(14), "3": time(22)}).last(START, count)

    def report(self, wanted: InspectionFilter) -> dict[str, Any]:
        rejected = [each for each in self.parts if each["anomalous"]]
        count = {
            "inspections": len(self.parts),
            "anomalous": len(rejected),
            "defect_rate": len(rejected) / len(self.parts) if self.parts else None,
        }
        refused = [
            {"source": "top", "reason": "contrast", "count": 3},
            {"source": "top", "reason": "not seen", "count": 1},
        ]
        learned = {"at": START.isoformat(), "what": "learn", "model": "can", "version": 3}
        drift = {"at": START.isoformat(), "what": "drift", "model": "can", "version": None}
        return {
            **count,
            "reviewed": 12,
            "false_alarms": 2,
            "missed": 0,
            "groups": {"lot": [{"value": "L7", **count}]} if self.parts else {},
            "versions": [{"model": "can", "version": 3, **count}] if self.parts else [],
            "worst": rejected[:10],
            "refused": refused if self.parts else [],
            "events": [learned, drift] if self.parts else [],
        }

    def line_troubles(self) -> dict[str, int]:
        return {"sources": 1 if self.parts else 0, "sinks": 1 if self.parts else 0}

    def line(self) -> dict[str, Any]:
        at = "2026-11-02T09:30:00Z"
        said = {
            "delivered": 12_345,
            "waiting": 0,
            "refusals": 2,
            "given_up": 0,
            "too_late": 0,
            "trouble": None,
        }
        ms = {"count": 2_000, "p50": 45.2, "p99": 137.0}
        away = {"waiting": 57, "trouble": "mqtt://broker:1883: 111"}
        none = {"count": 0, "p50": None, "p99": None}
        seen = {"model": None, "failed": 0, "ended": False, "paused": False, "starting": False}
        unseen = "rtsp://top/1: 404"
        top = {"name": "top", "kind": "camera", "from": "rtsp://top/1", "trigger": "message", "judged": 812}
        lots = {"name": "lots", "kind": "folder", "from": "/mnt/lots", "trigger": None, "judged": 40_000}
        return {
            "sources": [
                {
                    **top,
                    **seen,
                    "refused": 3,
                    "dropped": 12,
                    "trouble": unseen,
                    "named_in": "page",
                    "last": None,
                    "last_inspection": None,
                },
                {
                    **lots,
                    **seen,
                    "refused": 0,
                    "dropped": 0,
                    "trouble": None,
                    "named_in": "file",
                    "last": at,
                    "last_inspection": 1,
                },
            ]
            if self.parts
            else [],
            "refusals": [
                {
                    "number": 3,
                    "at": "2026-11-02T09:30:00Z",
                    "source": "top",
                    "model": "gear",
                    "name": "1041.png",
                    "reason": "0.21 < 1",
                    "fields": fields,
                    "has_picture": False,
                }
                for fields in ({"serial": "1041"}, {"lot": "7"}, {})
            ]
            if self.parts
            else [],
            "sinks": [
                {"name": "mes", "kind": "webhook", "to": "https://mes.example/hook", **said, "ms": ms},
                {
                    "name": "broker",
                    "kind": "mqtt",
                    "to": "mqtt://broker:1883/plant/3",
                    **said,
                    **away,
                    "ms": none,
                },
            ]
            if self.parts
            else [],
        }

    def drift_test(self, name: str) -> dict[str, Any] | None:
        return self.drift

    def audit(self, before: int | None, limit: int) -> list[dict[str, Any]]:
        entry = {
            "id": 1,
            "at": START.isoformat(),
            "by": "ada",
            "action": "learn",
            "object": "can",
            "detail": "",
        }
        return [entry] if self.parts else []

    def statistics(
        self,
        model: str | None = None,
        since: float | None = None,
        until: float | None = None,
        bucket: str = "hour",
        version: int | None = None,
    ) -> dict[str, Any]:
        if version is not None and self.parts:
            return FakeStation([each for each in self.parts if each["version"] == version]).statistics()
        scores = [each["score"] for each in self.parts]
        rejected = sum(each["anomalous"] for each in self.parts)
        labels = [each["label"] for each in self.parts]
        edges = [-3 + 0.5 * i for i in range(31)]
        return {
            "inspections": len(scores),
            "anomalous": rejected,
            "defect_rate": rejected / len(scores) if scores else None,
            "reviewed": {label: labels.count(label) for label in ("good", "defect", "unsure")},
            "false_alarms": 0,
            "missed": 0,
            "buckets": [
                {
                    "start": (START + timedelta(hours=hour)).isoformat(),
                    "inspections": len(scores) * (hour != 1),
                    "anomalous": rejected * (hour != 1),
                    "defect_rate": rejected / len(scores) if scores and hour != 1 else None,
                    "mean_score": sum(scores) / len(scores) if scores and hour != 1 else None,
                }
                for hour in range(4)
            ],
            "scores": len(scores),
            "histogram": {
                "edges": edges,
                "counts": [sum(low <= score < high for score in scores) for low, high in pairwise(edges)],
            },
            "threshold": LIMIT,
            "model": model,
            "version": version,
            "drift": self.drift,
        }
