"""What comes in broken, hostile, late or at a bad time gets a clear answer, and the station stays up."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from anomalyvfm.server.settings import Limits
from anomalyvfm.server.station import Station
from tests.server import postgres
from tests.server.conftest import Open, client_of
from tests.server.fake_detector import bomb, picture

POLYGLOT = picture(100) + b"<html><script>alert(1)</script>PK\x03\x04"


def assert_problem(answer: Any, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["status"] == status and said["title"] and said["detail"] and "\n" not in said["detail"]


@pytest.fixture
def small(open_station: Open) -> TestClient:
    """Of a station that takes images of up to 100 kB and a million pixels."""
    return client_of(open_station(limits=Limits(image_bytes=100_000, pixels=1_000_000)))


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (picture(100)[:-40], 422),
        (picture(100)[:20], 422),
        (b"\xff\xd8\xff\xe0" + b"\0" * 1000, 422),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100_001, 413),
        (b"GIF89a" + b"\0" * 100, 415),
        (b"%PDF-1.7\n" + picture(100), 415),
        (b"MZ" + b"\0" * 100, 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
        (bomb(30_000, 30_000), 413),
    ],
    ids=["empty", "truncated", "head", "jpeg", "oversized", "gif", "pdf", "program", "svg", "bomb"],
)
def test_a_file_that_is_no_good_image_is_a_problem_and_the_next_is_judged(
    small: TestClient, content: bytes, status: int
) -> None:
    assert_problem(small.post("/api/judge", content=content), status)
    (result,) = small.post("/api/judge", files=[("image", ("x.png", content))]).json()["results"]
    assert result["problem"]["status"] == status
    assert small.post("/api/judge", content=picture(100)).status_code == 200
    assert len(small.get("/api/inspections").json()["items"]) == 1


def test_nothing_of_a_polyglot_but_its_picture_is_shown(client: TestClient) -> None:
    part = client.post("/api/judge?name=x.html", content=POLYGLOT).json()
    address = f"/api/inspections/{part['id']}"
    for name in ("thumbnail.jpg", "preview.jpg", "heat.png", "outline.png"):
        assert b"script" not in client.get(f"{address}/{name}").content
    original = client.get(f"{address}/original")
    assert original.content == POLYGLOT
    assert original.headers["content-type"] == "application/octet-stream"
    assert original.headers["content-disposition"] == f'attachment; filename="part-{part["id"]}.png"'
    assert original.headers["x-content-type-options"] == "nosniff"
    assert original.headers["content-security-policy"].startswith("sandbox")


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("POST", "/api/judge?model=none", None),
        ("POST", "/api/jobs?model=none", None),
        ("POST", "/api/inspections/77/reviews", {"label": "good"}),
        ("POST", "/api/reviews/77/undo", None),
        ("POST", "/api/models/none/activate", {"version": 1, "expected": 1}),
        ("POST", "/api/models/part/activate", {"version": 77, "expected": 1}),
        ("PUT", "/api/models/none/false-alarm-rate", {"rate": 0.1}),
        ("POST", "/api/models/none/calibrate", {}),
        ("POST", "/api/models/none/drift/reset", {}),
        ("PUT", "/api/models/default", {"name": "none"}),
        ("GET", "/api/jobs/77/items", None),
        ("GET", "/api/inspections/77/regions/1.jpg", None),
    ],
)
def test_unknown_names_and_numbers_are_404(
    client: TestClient, method: str, path: str, said: dict[str, Any] | None
) -> None:
    if said is not None:
        answer = client.request(method, path, json=said)
    elif "/jobs?" in path:
        answer = client.post(path, files=[("image", ("x.png", picture(100)))])
    else:
        answer = client.request(method, path, content=picture(100) if method == "POST" else None)
    assert_problem(answer, 404)


def test_what_is_said_of_a_stale_version_or_review_is_409_and_changes_nothing(client: TestClient) -> None:
    part = client.post("/api/judge", content=picture(180)).json()
    reviews = f"/api/inspections/{part['id']}/reviews"
    first = client.post(reviews, json={"label": "good"}).json()["review"]
    client.post(reviews, json={"label": "unsure"})
    before = client.get("/api/models/part/versions").json()
    for method, path, said in (
        ("POST", "/api/models/part/activate", {"version": 1, "expected": 1}),
        ("PUT", "/api/models/part/false-alarm-rate", {"rate": 0.3, "expected": 1}),
        ("POST", reviews, {"label": "defect", "seen_review": first["id"]}),
    ):
        assert_problem(client.request(method, path, json=said), 409)
    assert client.post(f"/api/reviews/{first['id']}/undo").status_code == 200
    assert_problem(client.post(f"/api/reviews/{first['id']}/undo"), 409)
    assert client.get("/api/models/part/versions").json() == before


def test_a_review_while_the_database_is_locked_is_503_and_teaches_nothing(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalyvfm.server.store.database._BUSY_SECONDS", 1)
    station = open_station()
    client = client_of(station)
    part = client.post("/api/judge", content=picture(180)).json()
    reviews = f"/api/inspections/{part['id']}/reviews"
    with sqlite3.connect(station.settings.data / "station.sqlite3") as other:
        other.execute("BEGIN IMMEDIATE")
        for label in ("good", "unsure"):
            answer = client.post(reviews, json={"label": label})
            assert_problem(answer, 503)
            assert "retry-after" in answer.headers
        other.rollback()
    assert client.get("/api/models/part").json()["active"]["number"] == 1
    assert client.post(reviews, json={"label": "good"}).json()["learning"]["version"] == 2


def test_on_a_full_disk_reviews_and_jobs_are_507_and_work_again_afterwards(
    station: Station, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [("image", ("x.png", picture(101)))]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as no_room:
        no_room.setattr("anomalyvfm.server.store.files.os.fsync", full)
        no_room.setattr("anomalyvfm.server.models.version_folders.os.fsync", full)
        assert_problem(client.post("/api/jobs", files=files), 507)
        probe = Path.write_bytes
        no_room.setattr(
            Path, "write_bytes", lambda path, _: full() if path.name == ".probe" else probe(path, _)
        )
        assert_problem(client.get("/ready"), 507)
        assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 200
    assert client.get("/api/jobs").json()["items"] == []
    assert client.post("/api/jobs", files=files).status_code == 202


def test_a_database_server_that_is_away_is_503_everywhere_until_it_is_back(open_station: Open) -> None:
    found = postgres.programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed here (no initdb); apt-get install postgresql")
    with postgres.server(found) as folder:
        station = open_station(database=postgres.new_database(folder))
        client = client_of(station)
        part = client.post("/api/judge", content=picture(180)).json()
        postgres.control(found, folder, "stop")
        for answer in (
            client.post("/api/judge", content=picture(100)),
            client.post("/api/jobs", files=[("image", ("x.png", picture(101)))]),
            client.post(f"/api/inspections/{part['id']}/reviews", json={"label": "good"}),
            client.get("/api/inspections"),
            client.get("/ready"),
        ):
            assert_problem(answer, 503)
        assert client.get("/wall").status_code == 503
        assert client.get("/health").status_code == 200
        postgres.control(found, folder, "start")
        assert client.get("/ready").status_code == 200
        assert client.post("/api/judge", content=picture(100)).status_code == 200
        assert client.get(f"/api/inspections/{part['id']}").json() == part
        station.close()
