"""Sources that people add, pause and remove while the station runs."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from anomalyvfm.line.settings import LineSettings
from anomalyvfm.line.sources import opening
from anomalyvfm.server.auth.accounts import add_account
from anomalyvfm.server.sources import changing
from anomalyvfm.server.station import Station
from tests.line.sources.http_camera import http_camera
from tests.server.conftest import Open, client_of
from tests.server.fake_detector import picture
from tests.waiting import until

pytest.importorskip("httpx")

OF_THE_FILE = {"kind": "snapshot", "url": "http://127.0.0.1:9/", "trigger": "message"}


def line(**sources: Any) -> LineSettings:
    return LineSettings({"gate": {"min-contrast": 0, "max-torn": 0}, "sources": sources}, "station.toml")


def snapshot(url: str, **settings: Any) -> dict[str, Any]:
    return {"kind": "snapshot", "url": f"{url}/now", "every": 0.05, **settings}


def sources(station: Station) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in station.line()["sources"]}


def put(client: TestClient, name: str, table: Any) -> Any:
    return client.put(f"/api/line/sources/{name}", json=table)


def test_a_camera_that_is_added_judges_and_is_there_after_a_restart(
    open_station: Open, database_url: str
) -> None:
    with http_camera(picture(100)) as (_, url):
        station = open_station(line=line(top=OF_THE_FILE), database=database_url)
        client = client_of(station)
        said = put(client, "side", snapshot(url, model="part", fields={"line": "3"}))
        assert said.status_code == 200, said.text
        named_in = {one["name"]: one["named_in"] for one in said.json()["sources"]}
        assert named_in == {"top": "file", "side": "page"}
        until(lambda: sources(station)["side"]["judged"] > 2)
        last = client.get(f"/api/inspections/{sources(station)['side']['last_inspection']}").json()
        assert (last["by"], last["fields"]) == ("source side", {"line": "3"})
        station.close()
        station = open_station(models=[], line=line(top=OF_THE_FILE), database=database_url)
        until(lambda: sources(station)["side"]["judged"] > 0)
        changes = [(one["by"], one["action"], one["object"]) for one in station.audit(None, 3)]
        assert ("local", "source added", "side") in changes


def test_a_camera_that_is_changed_is_asked_at_its_new_address(open_station: Open) -> None:
    with http_camera(picture(100)) as (_, url):
        station = open_station()
        client = client_of(station)
        assert put(client, "side", snapshot("http://127.0.0.1:9")).status_code == 200
        until(lambda: sources(station)["side"]["trouble"] is not None)
        assert put(client, "side", snapshot(url)).status_code == 200
        until(lambda: sources(station)["side"]["judged"] > 0)
        assert sources(station)["side"]["trouble"] is None


def test_a_camera_that_has_not_answered_yet_is_said_to_start(open_station: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        station = open_station()
        client = client_of(station)
        for _ in range(2):  # the second time nothing of the first one is left
            put(client, "side", snapshot(url, timeout=1.0))
            assert sources(station)["side"]["starting"]
            assert station.line_troubles() == {"sources": 0, "sinks": 0}
            until(lambda: sources(station)["side"]["trouble"] is not None)
            assert not sources(station)["side"]["starting"]
            assert station.line_troubles() == {"sources": 1, "sinks": 0}
            client.delete("/api/line/sources/side")


@pytest.mark.parametrize("named_in", ["file", "page"])
def test_a_source_that_is_paused_takes_no_images_until_it_goes_on(
    open_station: Open, database_url: str, named_in: str
) -> None:
    with http_camera(picture(100)) as (_, url):
        settings = line(**({"side": snapshot(url)} if named_in == "file" else {}))
        station = open_station(line=settings, database=database_url)
        client = client_of(station)
        if named_in == "page":
            put(client, "side", snapshot(url))
        until(lambda: sources(station)["side"]["judged"] > 0)
        assert client.put("/api/line/sources/side/paused", json={"paused": True}).status_code == 200
        until(lambda: not station.batcher.is_busy)  # what was on its way is judged
        judged = sources(station)["side"]["judged"]
        time.sleep(0.3)
        assert sources(station)["side"]["judged"] == judged
        assert sources(station)["side"]["paused"]
        station.close()
        station = open_station(models=[], line=settings, database=database_url)
        client = client_of(station)
        time.sleep(0.3)
        assert (sources(station)["side"]["judged"], sources(station)["side"]["paused"]) == (0, True)
        assert client.post("/api/line/sources/side/trigger").status_code == 409
        client.put("/api/line/sources/side/paused", json={"paused": False})
        until(lambda: sources(station)["side"]["judged"] > 0)
        assert not sources(station)["side"]["paused"]


def test_a_source_that_is_removed_is_gone_with_its_troubles(open_station: Open, database_url: str) -> None:
    station = open_station(database=database_url)
    client = client_of(station)
    put(client, "side", snapshot("http://127.0.0.1:9"))
    until(lambda: bool(client.get("/ready").json()["warnings"]))
    assert client.delete("/api/line/sources/side").json()["sources"] == []
    assert client.get("/ready").json()["warnings"] == []
    assert client.delete("/api/line/sources/side").status_code == 404
    assert client.put("/api/line/sources/side/paused", json={"paused": True}).status_code == 404
    station.close()
    assert sources(open_station(models=[], database=database_url)) == {}


def test_a_folder_of_the_file_can_be_paused(open_station: Open, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    table = {"kind": "folder", "folder": str(tmp_path / "in"), "settle": 0}
    station = open_station(line=line(lots=table))
    client = client_of(station)
    client.put("/api/line/sources/lots/paused", json={"paused": True})
    (tmp_path / "in" / "a.png").write_bytes(picture(100))
    time.sleep(0.4)
    assert sources(station)["lots"]["judged"] == 0
    client.put("/api/line/sources/lots/paused", json={"paused": False})
    until(lambda: sources(station)["lots"]["judged"] == 1)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, "sources.x.kind: camera or snapshot"),
        ({"kind": "folder", "folder": "/etc"}, "sources.x.kind: camera or snapshot"),
        ({"kind": "genicam", "producer": "/tmp/evil.cti"}, "sources.x.kind: camera or snapshot"),
        ({"kind": "video", "file": "/etc/passwd"}, "sources.x.kind: camera or snapshot"),
        ({"kind": ["camera"]}, "sources.x.kind: camera or snapshot"),
        ({"kind": "camera", "address": "/etc/passwd"}, "sources.x.address: rtsp://"),
        ({"kind": "camera", "address": "file:///etc/passwd"}, "sources.x.address: rtsp://"),
        ({"kind": "camera", "address": "concat:/etc/passwd"}, "sources.x.address: rtsp://"),
        ({"kind": "camera", "address": "rtsp://a b"}, "sources.x.address: rtsp://"),
        ({"kind": "camera", "address": "/dev/video0/../../etc/passwd"}, "sources.x.address: rtsp://"),
        ({"kind": "camera", "address": "rtsp://a", "empty": "/etc/passwd"}, "sources.x.empty: names a file"),
        (snapshot("http://a", **{"password-file": "/etc/passwd"}), "x.password-file: names a file"),
        (snapshot("http://a", **{"ca-file": "/etc/passwd"}), "x.ca-file: names a file"),
        (
            {
                "kind": "camera",
                "address": "rtsp://a",
                "trigger": "message",
                "broker": {"host": "a", "topic": "b", "password-file": "/etc/passwd"},
            },
            "x.password-file: names a file",
        ),
        (snapshot("file:///etc"), "sources.x.url"),
        (snapshot("http://a", nonsense=1), "sources.x.nonsense: no such key"),
        (snapshot("http://a", model="other"), "sources.x.model: no model other here"),
    ],
)
def test_what_may_not_be_added_is_said_in_a_line_and_changes_nothing(
    open_station: Open, table: dict[str, Any], says: str
) -> None:
    station = open_station()
    answer = put(client_of(station), "x", table)
    assert answer.status_code == 422 and says in answer.json()["detail"], answer.text
    assert answer.json()["detail"].startswith("sources.x.") and "\n" not in answer.json()["detail"]
    assert sources(station) == {}


def test_what_the_file_names_is_changed_there(open_station: Open) -> None:
    station = open_station(line=line(top=OF_THE_FILE))
    client = client_of(station)
    for answer in (put(client, "top", OF_THE_FILE), client.delete("/api/line/sources/top")):
        assert answer.status_code == 409 and "is named in the station's file" in answer.json()["detail"]
    assert put(client, "no/name", OF_THE_FILE).status_code in (404, 405)
    assert put(client, "no name", OF_THE_FILE).status_code == 422
    assert put(client, "x", [1]).status_code == 422


def test_a_station_has_not_any_number_of_sources(open_station: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changing, "MOST", 2)
    client = client_of(open_station(line=line(top=OF_THE_FILE)))
    assert put(client, "a", OF_THE_FILE).status_code == 200
    answer = put(client, "b", OF_THE_FILE)
    assert answer.status_code == 409 and "2 sources at most" in answer.json()["detail"]
    assert put(client, "a", OF_THE_FILE).status_code == 200  # it is there already


def test_a_source_whose_library_is_gone_keeps_no_station_from_starting(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = open_station()
    put(client_of(station), "side", snapshot("http://127.0.0.1:9"))
    station.close()
    with monkeypatch.context() as patched:
        patched.setattr(opening, "find_spec", lambda name: None)
        station = open_station(models=[])
        (trouble,) = client_of(station).get("/ready").json()["warnings"]
        assert "side: needs httpx; pip install" in trouble
        assert sources(station)["side"]["trouble"] == trouble.removeprefix("source side: ")
        assert (
            client_of(station).put("/api/line/sources/side/paused", json={"paused": False}).status_code == 422
        )
        station.close()
    assert sources(open_station(models=[]))["side"]["trouble"] != trouble


def test_adding_takes_an_admin_and_pausing_an_engineer(open_station: Open, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    tokens = {role: add_account(file, role, role, None) for role in ("operator", "engineer", "admin")}
    client = client_of(open_station(token_file=file, line=line(top=OF_THE_FILE)))
    body = {"paused": True}
    for role, statuses in {
        "operator": (403, 403, 403),
        "engineer": (403, 403, 200),
        "admin": (200, 200, 200),
    }.items():
        headers = {"Authorization": f"Bearer {tokens[role]}"}
        found = (
            client.put("/api/line/sources/a", json=OF_THE_FILE, headers=headers).status_code,
            client.delete("/api/line/sources/a", headers=headers).status_code,
            client.put("/api/line/sources/top/paused", json=body, headers=headers).status_code,
        )
        assert found == statuses, role


def test_cameras_that_hang_are_waited_for_together(open_station: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        table = snapshot(url, timeout=1.0)
        station = open_station(line=line(**{f"c{number}": table for number in range(5)}))
        time.sleep(0.3)
        began = time.monotonic()
        station.close()
        assert time.monotonic() - began < 4  # one after another they would take five
