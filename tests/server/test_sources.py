"""Sources of a station: what they bring is judged once, refused with a reason, or dropped and counted."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select

from anomalyvfm.errors import InputError
from anomalyvfm.line.settings import LineSettings
from anomalyvfm.server.station import Station
from anomalyvfm.server.store import refusals
from anomalyvfm.server.store.inspections import InspectionFilter
from anomalyvfm.server.store.tables import SourceFileRow
from tests.line.sinks.receiver import receiving
from tests.line.sources.http_camera import http_camera
from tests.server.conftest import Open, client_of
from tests.server.fake_detector import picture, png
from tests.waiting import until


def lines(**tables: Any) -> LineSettings:
    return LineSettings({"gate": {"min-contrast": 0, "max-torn": 0}, **tables}, "station.toml")


def put(folder: Path, name: str, content: bytes) -> Path:
    """As a camera's program does: written elsewhere, then moved into the folder."""
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f"{place.name}.new")
    partial.write_bytes(content)
    partial.rename(place)
    return place


def state(station: Station, name: str = "top") -> dict[str, Any]:
    (found,) = (source for source in station.line()["sources"] if source["name"] == name)
    return dict(found)


def inspections(station: Station) -> list[dict[str, Any]]:
    return list(reversed(station.inspections.newest(InspectionFilter(), limit=100)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "camera").mkdir()
    return tmp_path / "camera"


def watched(folder: Path, **settings: Any) -> LineSettings:
    table = {"kind": "folder", "folder": str(folder), "settle": 0.1, "fields": {"line": "3"}, **settings}
    return lines(sources={"top": table}, fields={"pattern": "{serial}_*"})


def test_each_file_is_judged_once_across_restarts(
    open_station: Open, folder: Path, database_url: str
) -> None:
    put(folder, "lot-7/a1_x.png", picture(100))
    put(folder, "b2_x.png", picture(180))
    station = open_station(line=watched(folder), database=database_url)
    until(lambda: state(station)["judged"] == 2)
    station.close()
    put(folder, "c3_x.png", picture(100))
    station = open_station(models=[], line=watched(folder), database=database_url)
    until(lambda: len(inspections(station)) == 3)
    put(folder, "c3_x.png", picture(101))  # another part
    until(lambda: len(inspections(station)) == 4)
    time.sleep(0.3)
    kept = inspections(station)
    assert sorted(each["name"] for each in kept) == ["a1_x.png", "b2_x.png", "c3_x.png", "c3_x.png"]
    assert {each["by"] for each in kept} == {"source top"}
    (of_lot,) = (each for each in kept if each["name"] == "a1_x.png")
    assert of_lot["fields"] == {"line": "3", "lot": "lot-7", "serial": "a1"}
    assert state(station)["trouble"] is None


def test_files_that_are_to_go_go_when_they_are_kept(
    open_station: Open, folder: Path, database_url: str
) -> None:
    station = open_station(line=watched(folder, then="delete"), database=database_url)
    same = picture(100)
    for round_ in range(1, 3):  # the same file again is another part
        file = put(folder, "a.png", same)
        os.utime(file, ns=(1, 1))
        until(lambda round_=round_: len(inspections(station)) == round_)  # type: ignore[misc]
        until(lambda file=file: not file.exists())  # type: ignore[misc]
        until(lambda: _files_noted(station) == 0)
        time.sleep(0.5)  # the folder is looked at meanwhile


def test_a_file_that_is_refused_is_left_for_somebody_to_look_at(open_station: Open, folder: Path) -> None:
    file = put(folder, "half.png", picture(100)[:200])
    station = open_station(line=watched(folder, then="delete"))
    until(lambda: state(station)["refused"] == 1)
    station.close()
    station = open_station(models=[], line=watched(folder, then="delete"))
    put(folder, "a.png", picture(100))
    until(lambda: state(station)["judged"] == 1)
    time.sleep(0.3)
    assert file.exists() and len(station.line()["refusals"]) == 1


def _files_noted(station: Station) -> int:
    with station.reading() as session:
        return session.scalar(select(func.count()).select_from(SourceFileRow)) or 0


def test_a_file_that_a_killed_station_has_left_is_deleted_and_not_judged_again(
    open_station: Open, folder: Path
) -> None:
    station = open_station(line=watched(folder))
    file = put(folder, "a.png", picture(100))
    until(lambda: state(station)["judged"] == 1)
    station.close()
    station = open_station(models=[], line=watched(folder, then="delete"))
    until(lambda: not file.exists())
    assert len(inspections(station)) == 1


def test_a_file_that_is_no_image_is_refused_once_and_told_of(
    open_station: Open, folder: Path, database_url: str
) -> None:
    with receiving() as receiver:
        sink = {"kind": "webhook", "url": receiver.url}
        table = {"kind": "folder", "folder": str(folder), "settle": 0.1}
        line = lines(sources={"top": table}, sinks={"mes": sink})
        station = open_station(line=line, database=database_url)
        put(folder, "half.png", picture(100)[:200])
        until(lambda: state(station)["refused"] == 1)
        assert "the last one was refused: decode: " in state(station)["trouble"]
        until(lambda: len(receiver.got) == 1)
        message = json.loads(receiver.got[0][1])
        assert (message["outcome"], message["path"], message["number"]) == ("refused", "half.png", -1)
        assert message["id"] == f"{station.identity}-refused-1"
        assert message["error"].startswith("decode: ")
        until(lambda: station.line()["sinks"][0]["waiting"] == 0)
        put(folder, "good.png", picture(100))
        until(lambda: len(receiver.got) == 2)
        until(lambda: state(station)["trouble"] is None)
        (refusal,) = station.line()["refusals"]
        assert (refusal["source"], refusal["name"]) == ("top", "half.png")
        station.close()
        station = open_station(models=[], line=line, database=database_url)
        time.sleep(1.0)
        assert len(station.line()["refusals"]) == 1
        assert len(receiver.got) == 2


def test_pictures_are_kept_of_the_last_refusals_alone(open_station: Open, database_url: str) -> None:
    station = open_station(database=database_url)
    with station.database.writing() as session:
        for number in range(1, refusals.PICTURES + 3):
            picture_ = b"jpeg" if number != 50 else None
            assert refusals.add(session, "top", "part", "a", "torn", {}, None, picture_) == number
    client = client_of(station)
    gone = [
        number
        for number in (1, 2, 3, 50, 102)
        if client.get(f"/api/line/refusals/{number}/thumbnail.jpg").status_code == 404
    ]
    assert gone == [1, 2, 50]
    assert [one["has_picture"] for one in station.line()["refusals"]] == [True] * 20


def test_a_folder_that_vanishes_is_looked_for(open_station: Open, folder: Path) -> None:
    station = open_station(line=watched(folder))
    until(lambda: state(station)["trouble"] is None)
    folder.rename(folder.with_name("away"))
    until(lambda: state(station)["trouble"] is not None)
    assert state(station)["trouble"] == f"{folder}: No such file or directory; it is looked for"
    warnings = client_of(station).get("/ready").json()["warnings"]
    assert warnings == [f"source top: {folder}: No such file or directory; it is looked for"]
    folder.with_name("away").rename(folder)
    put(folder, "a.png", picture(100))
    until(lambda: state(station)["judged"] == 1)


def noisy(seed: int = 0) -> bytes:
    return png(np.random.default_rng(seed).integers(60, 140, (64, 64, 3)).astype(np.uint8))


def snapshot(url: str, **settings: Any) -> LineSettings:
    table = {"kind": "snapshot", "url": f"{url}/a.png", "fields": {"product": "gear"}, **settings}
    return LineSettings({"sources": {"top": table}}, "station.toml")


def test_a_camera_that_shows_nothing_is_refused_until_it_shows_something(open_station: Open) -> None:
    with http_camera() as (kind, url):
        kind.content = png(np.zeros((64, 64, 3), np.uint8))
        station = open_station(line=snapshot(url, every=0.05))
        until(lambda: state(station)["refused"] >= 2)
        assert "contrast: grey levels spread by 0.00" in state(station)["trouble"]
        number = station.line()["refusals"][-1]["number"]
        shown = client_of(station).get(f"/api/line/refusals/{number}/thumbnail.jpg")
        assert np.array(Image.open(io.BytesIO(shown.content))).max() < 3
        assert inspections(station) == []
        assert client_of(station).get("/ready").json()["warnings"][0].startswith("images of top: ")
        kind.content = noisy()
        until(lambda: len(inspections(station)) >= 2)
        until(lambda: state(station)["trouble"] is None)
        first = inspections(station)[0]
        assert first["name"].startswith("top 20") and first["name"].endswith(".png")
        assert (first["by"], first["fields"]) == ("source top", {"product": "gear"})
        kind.status = 503
        until(lambda: "answers 503" in (state(station)["trouble"] or ""))
        kind.status = 200
        until(lambda: state(station)["trouble"] is None, 30)


def test_who_asks_for_a_frame_says_which_part_it_is(open_station: Open) -> None:
    with http_camera() as (kind, url):
        kind.content = noisy()
        station = open_station(line=snapshot(url, trigger="message"))
        client = client_of(station)
        place = "/api/line/sources/top/trigger"
        until(lambda: client.post(place, params={"serial": "s1"}).status_code == 202)
        assert client.post(place, headers={"X-Part-Serial": "s2"}).status_code == 202
        until(lambda: state(station)["judged"] == 2)
        serials = [each["fields"]["serial"] for each in inspections(station)]
        assert sorted(serials) == ["s1", "s2"]
        kind.status = 500
        assert client.post(place, params={"serial": "s3"}).status_code == 202
        until(lambda: state(station)["trouble"] is not None)
        answer = client.post(place, params={"serial": "s4"})
        assert answer.status_code == 503 and "the part counts as refused" in answer.json()["detail"]
        lost = {each["fields"]["serial"]: each["reason"] for each in station.line()["refusals"]}
        assert set(lost) >= {"s3", "s4"}
        assert lost["s4"] == "not seen: the camera is not there"
        assert client.post("/api/line/sources/side/trigger").status_code == 404
    station.close()
    with http_camera(noisy()) as (_, url):
        station = open_station(models=[], line=snapshot(url))
        assert client_of(station).post(place).status_code == 409


class _Breaks:
    """Judges what it is told to, and fails on the others as a library does."""

    def __init__(self, station: Station, broken: int) -> None:
        self._detector = station.registry.get("part").active.detector
        self._judge = self._detector.judge
        self._broken = broken
        self._detector.judge = self._one_by_one  # type: ignore[method-assign, assignment]

    def _one_by_one(self, images: Any) -> Any:
        if any(round(float(np.mean(image))) == self._broken for image in images):
            raise RuntimeError("of the model's library")
        return self._judge(images)


def test_what_breaks_the_model_is_refused_and_the_next_is_judged(open_station: Open, folder: Path) -> None:
    station = open_station(line=watched(folder))
    _Breaks(station, 140)
    put(folder, "breaks.png", png(np.full((32, 32, 3), 140, np.uint8)))
    until(lambda: state(station)["refused"] == 1)
    put(folder, "good.png", picture(100))
    until(lambda: state(station)["judged"] == 1)
    (refusal,) = station.line()["refusals"]
    assert (refusal["name"], refusal["reason"][:11]) == ("breaks.png", "not judged:")


def test_a_frame_that_cannot_be_judged_is_told_of(open_station: Open) -> None:
    with http_camera() as (kind, url):
        kind.content = noisy()
        station = open_station(line=snapshot(url, trigger="message"))
        _Breaks(station, round(float(np.mean(np.array(Image.open(io.BytesIO(kind.content)))))))
        client = client_of(station)
        until(lambda: client.post("/api/line/sources/top/trigger?serial=s1").status_code == 202)
        until(lambda: state(station)["refused"] == 1)
        (refusal,) = station.line()["refusals"]
        assert refusal["fields"]["serial"] == "s1" and refusal["reason"].startswith("not judged:")


def test_frames_for_which_there_is_no_room_are_dropped_and_counted(open_station: Open) -> None:
    with http_camera() as (kind, url):
        kind.content = noisy()
        station = open_station(line=snapshot(url, every=0.01))
        until(lambda: state(station)["judged"] >= 1)
        slow = threading.Event()
        detector = station.registry.get("part").active.detector
        judge = detector.judge

        def held(images: Any) -> Any:
            slow.wait(20)
            return judge(images)

        detector.judge = held  # type: ignore[assignment, method-assign]
        until(lambda: state(station)["dropped"] >= 5)
        assert station.batcher._taken <= 9
        slow.set()
        judged = state(station)["judged"]
        until(lambda: state(station)["judged"] > judged + 10)


def test_a_source_of_a_model_that_is_not_there_is_refused_at_the_start(
    open_station: Open, folder: Path
) -> None:
    with pytest.raises(InputError, match=r"sources\.top\.model: no model gears here; there are part"):
        open_station(line=watched(folder, model="gears"))
    table = {"kind": "camera", "address": 0, "trigger": "motion", "empty": str(folder / "no.png")}
    with pytest.raises(InputError, match=r"sources\.top\.empty: .*no\.png"):
        open_station(line=lines(sources={"top": table}))
    assert not any(thread.name in ("judge", "keep") for thread in threading.enumerate())
    station = open_station(line=watched(folder, model="part"))
    put(folder, "a.png", picture(100))
    until(lambda: state(station)["judged"] == 1)
