"""What a shift came to, against counts of the same inspections one by one."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from anomalyvfm.line.settings import LineSettings
from anomalyvfm.server.store import refusals
from anomalyvfm.server.store.inspections import InspectionFilter
from tests.server.conftest import Open, client_of
from tests.server.fake_detector import picture


def test_counts_are_those_of_the_inspections(open_station: Open, database_url: str) -> None:
    station = open_station(database=database_url)
    kept = [
        station.submit(picture(level, seed), None, f"{seed}.png", "me", fields).result(20)
        for seed, (level, fields) in enumerate(
            [
                (100, {"lot": "a", "serial": "1"}),
                (180, {"lot": "a", "serial": "2"}),
                (200, {"lot": "b", "line": "3"}),
                (255, {}),
                (100, {"lot": "b"}),
            ]
        )
    ]
    rejected = [each for each in kept if each["anomalous"]]
    assert 2 <= len(rejected) < 5
    with station.database.writing() as session:
        for reason in ("contrast: grey levels spread by 0", "contrast: grey levels spread by 0.1"):
            refusals.add(session, "top", "part", "x.png", reason, {"lot": "a"}, None)
    report = station.report(InspectionFilter())
    assert (report["inspections"], report["anomalous"]) == (5, len(rejected))
    assert report["defect_rate"] == len(rejected) / 5
    assert report["versions"] == [
        {
            "model": "part",
            "version": 1,
            **{key: report[key] for key in ("inspections", "anomalous", "defect_rate")},
        }
    ]
    assert set(report["groups"]) == {"lot", "line"}, "of serial numbers there is one a part"
    for group in report["groups"]["lot"]:
        of_lot = [each for each in kept if each["fields"].get("lot") == group["value"]]
        odd = sum(each["anomalous"] for each in of_lot)
        assert (group["inspections"], group["anomalous"]) == (len(of_lot), odd)
        assert group["defect_rate"] == odd / len(of_lot)
    by_oddness = sorted(rejected, key=lambda each: -each["score"] / each["threshold"])
    assert [each["id"] for each in report["worst"]] == [each["id"] for each in by_oddness]
    assert report["refused"] == [{"source": "top", "reason": "contrast", "count": 2}]
    assert [event["what"] for event in report["events"]] == ["import"]

    of_lot_b = station.report(InspectionFilter(fields={"lot": "b"}))
    assert (of_lot_b["inspections"], of_lot_b["refused"]) == (2, [])
    before = station.report(InspectionFilter(until=time.time() - 3600))
    assert (before["inspections"], before["defect_rate"], before["worst"], before["events"]) == (
        0,
        None,
        [],
        [],
    )


def page(station: Any, **query: str) -> dict[str, Any]:
    answer = client_of(station).get("/report.json", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_page_is_of_the_present_shift_or_of_what_is_asked_for(open_station: Open) -> None:
    line = LineSettings({"shifts": {"early": "06:00", "late": "14:00", "night": "22:00"}}, "station.toml")
    station = open_station(line=line, timezone="Asia/Kolkata")
    station.submit(picture(100), None, "a.png", "me").result(20)
    now = page(station)
    assert now["inspections"] == 1
    (current,) = (shift for shift in now["shifts"] if shift["current"])
    assert current is now["shifts"][0]
    assert current["name"] == station.inspections.newest(InspectionFilter(), limit=1)[0]["fields"]["shift"]
    start = datetime.fromisoformat(now["since"])
    earlier = (start - timedelta(hours=8)).strftime("%Y-%m-%dT%H:%M")
    assert page(station, since=earlier, until=now["since"])["inspections"] == 0
    assert page(station, since=earlier)["inspections"] == 1
    assert page(station, lot="x")["inspections"] == 0


@pytest.mark.parametrize("query", [{"since": "2026-11-30"}, {"until": "x"}, {"model": "no-such"}])
def test_what_cannot_be_asked_for_is_said(open_station: Open, query: dict[str, str]) -> None:
    answer = client_of(open_station()).get("/report", params=query)
    assert answer.status_code == 422
    assert next(iter(query.values())) in answer.text
