"""The REST interface, from outside."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pyarrow import parquet  # type: ignore[import-untyped]  # it has no type hints

from anomalyvfm.line.settings import LineSettings
from anomalyvfm.server.inspections import exporting
from anomalyvfm.server.settings import Limits
from anomalyvfm.server.station import Station
from tests.line.codes import with_codes
from tests.server.conftest import Open, client_of
from tests.server.fake_detector import FakeDetector, picture, png
from tests.server.piecewise import Message, ask
from tests.waiting import until

PICTURES = ("thumbnail.jpg", "preview.jpg", "heat.png", "outline.png", "regions/1.jpg")


def post(client: TestClient, content: bytes, **params: str) -> Any:
    return client.post("/api/judge", params=params, content=content)


def test_an_image_is_judged_kept_and_shown(client: TestClient) -> None:
    answer = post(client, picture(180), name="../../cam/7.png")
    assert answer.status_code == 200
    part = answer.json()
    assert part["anomalous"] and part["name"] == "7.png" and part["regions"]
    assert client.get(f"/api/inspections/{part['id']}").json() == part
    for name in PICTURES:
        shown = client.get(f"/api/inspections/{part['id']}/{name}")
        assert shown.status_code == 200 and shown.headers["content-type"].startswith("image/"), name
    original = client.get(f"/api/inspections/{part['id']}/original")
    assert original.content == picture(180)
    assert original.headers["content-disposition"].startswith("attachment")


def test_a_form_gives_a_result_for_each_image_and_one_bad_image_spoils_nothing(client: TestClient) -> None:
    files = [
        ("image", (f"{n}.png", content)) for n, content in enumerate([picture(100), b"GIF89a", picture(180)])
    ]
    results = client.post("/api/judge", files=files).json()["results"]
    assert [result["name"] for result in results] == ["0.png", "1.png", "2.png"]
    assert [result.get("problem", {}).get("status") for result in results] == [None, 415, None]
    assert results[2]["inspection"]["anomalous"]


def test_parts_have_fields_and_are_found_by_them(open_station: Open) -> None:
    line = LineSettings(
        {"fields": {"line": "3", "pattern": "{serial}_*"}, "shifts": {"all day": "00:00"}}, ""
    )
    client = client_of(open_station(line=line))
    client.post(
        "/api/judge?lot=L7&name=A1_cam.png",
        content=picture(180),
        headers={"X-Part-Operator": "kim", "X-Part-Lot": "no"},
    )
    form = [("image", ("A2_cam.png", picture(100)))]
    client.post("/api/judge?lot=L8", files=form)
    job = client.post("/api/jobs?serial=given", files=form).json()
    end = time.monotonic() + 20
    while len(client.get("/api/inspections").json()["items"]) < 3:
        assert time.monotonic() < end, job
        time.sleep(0.02)

    parts = client.get("/api/inspections").json()["items"]
    always = {"line": "3", "shift": "all day"}
    assert [part["fields"] for part in parts] == [
        always | {"serial": "given"},
        always | {"serial": "A2", "lot": "L8"},
        always | {"serial": "A1", "lot": "L7", "operator": "kim"},
    ]
    found = client.get("/api/inspections?lot=L7&line=3").json()["items"]
    assert [part["fields"]["serial"] for part in found] == ["A1"]
    assert client.get("/api/inspections?lot=L9").json()["items"] == []
    rows = list(csv.DictReader(io.StringIO(client.get("/api/export?format=csv&shift=all day").text)))
    assert [row["serial"] for row in rows] == ["A1", "A2", "given"]
    assert [row["operator"] for row in rows] == ["kim", "", ""]
    table = parquet.read_table(io.BytesIO(client.get("/api/export?format=parquet&lot=L8").content))
    assert table.column("serial").to_pylist() == ["A2"]
    page = client.get("/inspections?lot=L7").text
    assert "A1_cam.png" in page and "A2_cam.png" not in page and 'value="L7"' in page
    assert 'href="/inspections?operator=kim"' in client.get(f"/inspections/{parts[2]['id']}").text


def test_a_job_is_done_in_the_background_image_by_image(client: TestClient) -> None:
    broken = picture(100)[:60]
    files = [
        ("image", (f"{n}.png", content)) for n, content in enumerate([picture(100), broken, picture(180)])
    ]
    answer = client.post("/api/jobs", files=files)
    assert answer.status_code == 202
    number = answer.json()["id"]
    for _ in range(200):
        job = client.get(f"/api/jobs/{number}").json()
        if job["state"] == "done":
            break
        time.sleep(0.05)
    assert (job["total"], job["done"], job["failed"]) == (3, 2, 1)
    items = client.get(f"/api/jobs/{number}/items").json()["items"]
    assert [item["state"] for item in items] == ["done", "failed", "done"]
    assert "damaged" in items[1]["problem"]
    assert client.get(f"/api/inspections/{items[2]['inspection_id']}").json()["anomalous"]


def test_requests_at_once_are_judged_together_and_each_gets_its_own(
    station: Station, client: TestClient
) -> None:
    with ThreadPoolExecutor(8) as clients:
        wanted = [90 + 10 * (number % 3) for number in range(24)]
        answers = list(clients.map(lambda b: post(client, picture(b), name=str(b)).json(), wanted))
    assert [answer["name"] for answer in answers] == [str(brightness) for brightness in wanted]
    assert sorted(answer["id"] for answer in answers) == list(range(1, 25))
    by_brightness = {answer["name"]: answer["score"] for answer in answers}
    assert by_brightness["90"] < by_brightness["100"] < by_brightness["110"]
    assert all(answer["score"] == by_brightness[answer["name"]] for answer in answers)


def test_a_full_queue_says_when_to_come_back(open_station: Open) -> None:
    station = open_station(limits=Limits(waiting=2))
    client = client_of(station)
    with station.batcher.places(2):
        answer = post(client, picture(100))
        assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
        assert answer.headers["content-type"] == "application/problem+json"
    assert post(client, picture(100)).status_code == 200


def test_slow_uploads_hold_no_place_in_the_queue(open_station: Open) -> None:
    station = open_station(limits=Limits(waiting=2, receiving_bytes=2500))
    client = client_of(station)

    async def judged_beside_slow_ones() -> list[int]:
        async def send_slowly(sent: int) -> list[int]:
            statuses: list[int] = []

            async def heard(message: Message) -> None:
                statuses.append(message.get("status", 0))

            await ask(client.app, "POST", "/api/judge", heard, body=[b"x" * sent])
            return statuses

        slow = [asyncio.create_task(send_slowly(100)) for _ in range(8)]
        await asyncio.sleep(0.2)
        posted = await asyncio.to_thread(post, client, picture(100))
        assert posted.status_code == 200
        too_much = await send_slowly(2000)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        again = await asyncio.to_thread(post, client, picture(100))
        return [too_much[0], again.status_code]

    assert asyncio.run(judged_beside_slow_ones()) == [429, 200]


def test_refused_images_are_counted_by_status(client: TestClient) -> None:
    assert post(client, b"no image").status_code == 415
    assert post(client, picture(100) * 40_000).status_code == 413
    form = [("image", ("a.png", picture(100))), ("image", ("b.png", b"no image"))]
    assert client.post("/api/judge", files=form).status_code == 200
    text = client.get("/metrics").text
    assert 'anomalyvfm_refused_total{status="415"} 2.0' in text
    assert 'anomalyvfm_refused_total{status="413"} 1.0' in text


def test_what_takes_too_long_is_answered_in_time_and_frees_its_place(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = open_station(limits=Limits(seconds=0.5))
    client = client_of(station)
    detector = station.registry.get("part").active.detector
    judge = detector.judge

    answered = threading.Event()
    judged = threading.Event()

    def slowly(images: Any) -> Any:
        assert answered.wait(60), "the answer waited for the judging"
        judged.set()
        return judge(images)

    monkeypatch.setattr(detector, "judge", slowly)
    assert post(client, picture(100)).status_code == 504
    assert not judged.is_set()
    answered.set()
    given_up = time.monotonic() + 60
    while station.batcher._taken:
        assert time.monotonic() < given_up, "its place in the queue is not free again"
        time.sleep(0.01)
    assert judged.wait(60), "what was begun is judged to its end"


def test_reviews_models_and_the_queue_over_http(client: TestClient) -> None:
    part = post(client, picture(180)).json()
    assert client.get("/api/review-queue").json()["items"][0]["id"] == part["id"]
    said = client.post(f"/api/inspections/{part['id']}/reviews", json={"label": "good"}).json()
    assert said["learning"]["action"] == "learned"
    assert client.get("/api/review-queue").json()["waiting"] == 0
    assert client.post(f"/api/reviews/{said['review']['id']}/undo").json()["inspection"]["label"] is None
    back = client.post("/api/models/part/activate", json={"version": 1, "expected": 3})
    assert back.json()["active"]["number"] == 1
    stale = client.post("/api/models/part/activate", json={"version": 1, "expected": 3})
    assert stale.status_code == 409 and "at version 1" in stale.json()["detail"]
    rate = client.put("/api/models/part/false-alarm-rate", json={"rate": 0.2, "why": "calmer", "expected": 1})
    assert rate.json()["active"]["calibration"]["false_alarm_rate"] == 0.2
    assert client.get("/api/models/part/what-if?rates=0.1,0.5").json()["parts"] == 1
    assert client.put("/api/models/default", json={"name": "part"}).json()["default"]
    assert client.post("/api/models/part/load").json()["active"]["number"] == 4
    assert [v["number"] for v in client.get("/api/models/part/versions").json()["items"]] == [4, 3, 2, 1]


def test_exports_hold_what_fits_the_filter(client: TestClient) -> None:
    post(client, picture(100), name="=HYPERLINK(1)")
    part = post(client, picture(180), name="b.png").json()
    rows = list(csv.DictReader(io.StringIO(client.get("/api/export?format=csv").text)))
    assert [row["name"] for row in rows] == ["'=HYPERLINK(1)", "b.png"], "no spreadsheet runs it"
    table = parquet.read_table(io.BytesIO(client.get("/api/export?format=parquet&anomalous=true").content))
    assert table.column("score").to_pylist() == [part["score"]]
    assert table.column("at").to_pylist()[0].isoformat(timespec="milliseconds")[:19] == part["at"][:19]
    coco = client.get("/api/export?format=coco").json()
    assert [image["id"] for image in coco["images"]] == [1, 2]
    (annotation,) = coco["annotations"]
    (region,) = part["regions"]
    x0, y0, x1, y1 = region["bbox"]
    assert annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]
    counts = annotation["segmentation"]["counts"]
    assert sum(counts) == 32 * 32 and sum(counts[1::2]) == region["area"]


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_give_the_mask_back(seed: int) -> None:
    mask = np.random.default_rng(seed).random((7, 5)) < 0.5
    counts = exporting.run_lengths(mask)
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    assert np.array_equal(values.reshape(mask.shape, order="F"), mask)


def test_a_region_says_why_it_is_odd_and_stands_beside_its_good_patch(client: TestClient) -> None:
    part = post(client, picture(180)).json()
    (region,) = part["regions"]
    assert region["nearest"]["image"] == "training.png"
    assert region["layers"] == {"4": 0.64, "5": 0.36}
    assert region["sees"] == {"4": "patterns", "5": "parts"}
    answer = client.get(f"/api/inspections/{part['id']}/regions/1.jpg")
    shown = Image.open(io.BytesIO(answer.content))
    assert shown.format == "JPEG" and shown.height == 240 and shown.width > 480
    own = np.asarray(shown.convert("L"))[:, :240]
    assert 170 < np.median(own) < 190, "the part as it was sent"
    assert client.get(f"/api/inspections/{part['id']}/regions/2.jpg").status_code == 404
    assert client.get("/api/inspections/9/regions/1.jpg").status_code == 404


def test_what_a_part_was_shown_beside_stays_when_the_model_forgets_it(client: TestClient) -> None:
    first = post(client, picture(180, 1), name="dusty.png").json()
    said = client.post(f"/api/inspections/{first['id']}/reviews", json={"label": "good"}).json()
    part = post(client, picture(181, 2)).json()
    assert part["regions"][0]["nearest"]["image"] == f"part {first['id']}, dusty.png"
    before = client.get(f"/api/inspections/{part['id']}/regions/1.jpg").content

    client.post(f"/api/reviews/{said['review']['id']}/undo")

    assert post(client, picture(181, 3)).json()["regions"][0]["nearest"]["image"] == "training.png"
    assert client.get(f"/api/inspections/{part['id']}").json() == part
    assert client.get(f"/api/inspections/{part['id']}/regions/1.jpg").content == before


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/inspections/999", 404),
        ("/api/inspections/99999999999999999999", 422),
        ("/api/inspections/0", 422),
        ("/api/inspections/1/heat.png", 404),
        ("/api/jobs/5", 404),
        ("/api/models/none", 404),
        ("/api/models/..%2f..%2fetc", 404),
        ("/api/inspections?since=yesterday", 422),
        ("/api/inspections?limit=100000", 422),
        ("/api/inspections?name=%00%ff", 200),
        ("/api/models/part/what-if?rates=2", 422),
        ("/api/export?format=exe", 422),
        ("/nothing", 404),
    ],
)
def test_what_is_not_there_or_not_sensible_is_a_problem_document(
    client: TestClient, path: str, status: int
) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status and "\n" not in answer.json()["detail"]


def test_a_locked_database_is_503_and_the_station_recovers(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalyvfm.server.store.database._BUSY_SECONDS", 1)
    station = open_station()
    client = client_of(station)
    database = station.settings.data / "station.sqlite3"
    with sqlite3.connect(database) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = post(client, picture(100))
        assert answer.status_code == 503 and "retry-after" in answer.headers
        assert client.get("/api/inspections").status_code == 200, "reading goes on"
        other.rollback()
    assert post(client, picture(100)).status_code == 200


def test_a_full_disk_is_507_and_nothing_is_half_there(
    station: Station, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        if os.fstat(descriptor).st_size != len(picture(100)):  # fails while its map is still being written
            time.sleep(0.3)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("anomalyvfm.server.store.files.os.fsync", full)
    answer = post(client, picture(100))
    assert answer.status_code == 507 and "disk is full" in answer.json()["detail"]
    monkeypatch.undo()
    assert client.get("/api/inspections").json()["items"] == []
    assert not list((station.settings.data / "files").glob("*/*"))
    assert post(client, picture(100)).status_code == 200


def test_events_tell_what_was_missed_and_what_is_new(station: Station) -> None:
    app = client_of(station).app
    first = station.submit(picture(100), None, "", "me").result(10)
    second = station.submit(picture(101), None, "", "me").result(10)
    heard: list[dict[str, Any]] = []

    text = b""

    async def hear(message: Message) -> None:
        nonlocal text
        text += message.get("body", b"")
        if text.count(b"event: inspection") == 1 and not heard:
            heard.append({})
            await asyncio.to_thread(lambda: station.submit(picture(180), None, "", "me").result(10))
            asyncio.get_running_loop().call_later(0.3, station.events.close)

    asyncio.run(ask(app, "GET", "/api/events", hear, {"Last-Event-ID": str(first["id"])}))
    heard[:] = [json.loads(line[6:]) for line in text.decode().splitlines() if line.startswith("data: ")]
    assert [event["id"] for event in heard] == [second["id"], second["id"] + 1]
    assert heard[1]["anomalous"]


def test_health_readiness_and_metrics(station: Station, client: TestClient) -> None:
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/ready").status_code == 200
    post(client, picture(180))
    assert 'anomalyvfm_inspections_total{model="part",verdict="anomalous"} 1.0' in client.get("/metrics").text


def test_the_openapi_document_resolves_and_has_examples(client: TestClient) -> None:
    text = client.get("/api/openapi.json").text
    document = json.loads(text)
    schemas = document["components"]["schemas"]
    for reference in set(part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]):
        assert reference in schemas
    assert schemas["Inspection"]["examples"] and schemas["ProblemShape"]["examples"]
    assert document["paths"]["/health"]["get"]["security"] == []


def test_a_code_in_the_picture_says_which_part_it_is_unless_the_sender_does(open_station: Open) -> None:
    pytest.importorskip("zxingcpp")
    line = LineSettings({"barcode": {"formats": ["QRCode"]}, "fields": {"lot": "L7"}}, "")
    client = client_of(open_station(line=line))
    content = png(with_codes(("QRCode", "A-1041", 20, 20)))
    for address, serial in (("/api/judge", "A-1041"), ("/api/judge?serial=B", "B")):
        assert client.post(address, content=content).json()["fields"] == {"lot": "L7", "serial": serial}
    assert client.post("/api/judge", content=picture(100)).json()["fields"] == {"lot": "L7"}
    job = client.post("/api/jobs", files=[("image", ("a.png", content))]).json()["id"]
    until(lambda: client.get(f"/api/jobs/{job}").json()["done"] == 1)
    (newest,) = client.get("/api/inspections?limit=1").json()["items"]
    assert newest["fields"] == {"lot": "L7", "serial": "A-1041"}


def test_a_version_has_judged_an_image_before_it_judges_the_first_part(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []
    judge = FakeDetector.judge

    def counted(detector: FakeDetector, images: list[Any]) -> Any:
        judged.append(len(images))
        return judge(detector, images)

    monkeypatch.setattr(FakeDetector, "judge", counted)
    open_station()
    assert judged == [1]


def test_what_was_submitted_is_judged_before_the_station_ends(open_station: Open) -> None:
    station = open_station()
    answers = [station.submit(picture(100, seed), None, "", "me") for seed in range(12)]
    station.close()
    assert all(answer.done() and answer.result()["id"] for answer in answers)
    assert len(open_station(models=[]).inspections.newest()) == 12


def test_drift_is_reported_once_and_reset(open_station: Open) -> None:
    station = open_station(images_between_drift_alarms=50)
    for seed in range(40):
        station.submit(picture(106, seed), None, "", "me").result(10)
    drift = station.statistics("part")["drift"]
    assert drift["alarm"] and drift["kind"] == "risen" and drift["since"]
    station.close()
    station = open_station(models=[], images_between_drift_alarms=50)
    assert station.statistics("part")["drift"] == drift, "kept over a restart"
    station.reset_drift("part", false_alarm=True, by="eve")
    assert not station.statistics("part")["drift"]["alarm"]


def test_statistics_of_a_version_need_its_model(station: Station) -> None:
    client = client_of(station)
    assert client.get("/api/statistics?model=part&version=1").json()["version"] == 1
    assert client.get("/api/statistics?model=part&version=7").status_code == 404
    assert "name of its model" in client.get("/api/statistics?version=1").json()["detail"]
