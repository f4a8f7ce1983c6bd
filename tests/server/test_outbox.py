"""Sinks of a station: told of every inspection, in both databases, across restarts and deletions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete

from anomalyvfm.errors import InputError
from anomalyvfm.line.settings import LineSettings
from anomalyvfm.server.outbox import InspectionOutbox
from anomalyvfm.server.station import Station
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.tables import InspectionRow
from tests.line.sinks.receiver import Receiver, receiving
from tests.server.conftest import Open, client_of
from tests.server.fake_detector import picture
from tests.waiting import until


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def line(receiver: Receiver, **settings: Any) -> LineSettings:
    sink = {"kind": "webhook", "url": receiver.url, **settings}
    return LineSettings({"fields": {"line": "3"}, "sinks": {"mes": sink}}, "station.toml")


def judged(station: Station, *brightness: int) -> list[dict[str, Any]]:
    return [station.submit(picture(b), None, f"{b}.png", "me").result(20) for b in brightness]


def test_each_inspection_is_told_with_what_it_says(
    open_station: Open, receiver: Receiver, database_url: str
) -> None:
    station = open_station(line=line(receiver), database=database_url)
    kept = judged(station, 100, 180)
    until(lambda: len(receiver.got) == 2)
    for inspection, (headers, body) in zip(kept, receiver.got, strict=True):
        message = json.loads(body)
        assert message["id"] == headers["webhook-id"] == f"{station.identity}-{inspection['id']}"
        assert message["outcome"] == ("anomalous" if inspection["anomalous"] else "good")
        assert message["fields"] == {"line": "3"}
        assert message["model"] == {"name": inspection["model"], "version": inspection["version"]}
        for key in ("score", "regions", "at", "sha256", "p_value"):
            assert message[key] == inspection[key]
    until(lambda: station.line()["sinks"][0]["delivered"] == 2)
    (sink,) = station.line()["sinks"]
    assert sink["ms"]["count"] == 2 and 0 < sink["ms"]["p50"] < 10_000
    assert (sink["waiting"], sink["trouble"], sink["to"]) == (0, None, receiver.url)


def test_what_a_sink_missed_it_is_told_after_a_restart(
    open_station: Open, receiver: Receiver, database_url: str
) -> None:
    station = open_station(line=line(receiver), database=database_url)
    judged(station, 100)
    until(lambda: len(receiver.got) == 1)
    receiver.status = 500
    judged(station, 101, 102)
    until(lambda: len(receiver.got) >= 3)
    station.close()
    receiver.status = 204
    before = len(receiver.got)
    station = open_station(models=[], line=line(receiver), database=database_url)
    until(lambda: {body for _, body in receiver.got[before:]} == {body for _, body in receiver.got[1:]})
    until(lambda: station.line()["sinks"][0]["waiting"] == 0)


def test_a_new_sink_is_not_told_of_the_past(
    open_station: Open, receiver: Receiver, database_url: str
) -> None:
    station = open_station(database=database_url)
    judged(station, 100, 101)
    station.close()
    station = open_station(models=[], line=line(receiver), database=database_url)
    judged(station, 102)
    until(lambda: len(receiver.got) == 1)
    assert json.loads(receiver.got[0][1])["path"] == "102.png"


def test_what_was_deleted_meanwhile_is_not_waited_for(
    open_station: Open, receiver: Receiver, database_url: str
) -> None:
    station = open_station(line=line(receiver), database=database_url)
    receiver.status = 500
    (inspection,) = judged(station, 100)
    until(lambda: station.line()["sinks"][0]["refusals"] > 0)
    with station.database.writing() as session:
        session.execute(delete(InspectionRow).where(InspectionRow.id == inspection["id"]))
    until(lambda: station.line()["sinks"][0]["waiting"] == 0)
    receiver.status = 204
    judged(station, 101)
    until(lambda: station.line()["sinks"][0]["delivered"] == 1)


def test_refusals_and_places_are_kept(database_url: str) -> None:
    database = Database(database_url)
    outbox = InspectionOutbox(database, "s")
    outbox.subscribe("a")
    outbox.refused("a", 3, "no", final=False)
    outbox.refused("a", 2, "never", final=True)
    assert (outbox.put_off("a"), outbox.waiting("a")) == ([3], (1, 1))
    outbox.refused("a", 3, "never", final=True)
    assert (outbox.put_off("a"), outbox.waiting("a")) == ([], (0, 2))
    outbox.told("a", 3)
    assert outbox.waiting("a") == (0, 1)
    outbox.subscribe("a")
    assert outbox.message(3) is None
    database.close()


def test_a_sink_in_trouble_is_said_at_ready_and_parts_are_judged_on(open_station: Open) -> None:
    settings = LineSettings({"sinks": {"mes": {"kind": "webhook", "url": "http://127.0.0.1:1/"}}}, "")
    client: TestClient = client_of(open_station(line=settings))
    assert client.post("/api/judge", content=picture(180)).status_code == 200
    until(lambda: bool(client.get("/ready").json()["warnings"]))
    ready = client.get("/ready")
    assert ready.status_code == 200
    assert "sink mes: http://127.0.0.1:1/" in ready.json()["warnings"][0]
    (sink,) = client.get("/api/line").json()["sinks"]
    assert sink["waiting"] == 1 and sink["trouble"]


def test_a_sink_that_cannot_be_opened_ends_the_start(open_station: Open, tmp_path: Path) -> None:
    sink = {"kind": "webhook", "url": "http://127.0.0.1:1/", "secret-file": str(tmp_path / "nowhere")}
    with pytest.raises(InputError, match="no secret can be read"):
        open_station(line=LineSettings({"sinks": {"mes": sink}}, ""))
