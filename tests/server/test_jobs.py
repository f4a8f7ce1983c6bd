"""Jobs: how many may wait, and that their images are read as any other."""

from __future__ import annotations

import time
from collections import namedtuple
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from anomalyvfm.server.problems import Problem
from anomalyvfm.server.settings import Limits
from anomalyvfm.server.station import Station
from tests.server.conftest import Open, client_of
from tests.server.fake_detector import ImageSettings, picture, png


def done(station: Station, number: int) -> list[dict[str, Any]]:
    for _ in range(400):
        if station.jobs.get(number)["state"] == "done":
            break
        time.sleep(0.05)
    return station.jobs.items(number, 0, 100)


def test_waiting_images_of_jobs_are_bounded_and_the_answer_says_when_to_come_back(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = open_station(limits=Limits(waiting_in_jobs=3))
    station.jobs.close()  # so that what waits goes on waiting
    images = [("", picture(100, seed)) for seed in range(4)]
    station.jobs.accept(images[:2], None, "me")
    files = list((station.settings.data / "files").glob("*/*"))

    answer = client_of(station).post(
        "/api/jobs", files=[("image", ("x.png", content)) for _, content in images[2:]]
    )

    assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
    assert "2 images of jobs are waiting" in answer.json()["detail"]
    assert list((station.settings.data / "files").glob("*/*")) == files, "nothing was written"
    station.jobs.accept(images[2:3], None, "me")


def test_a_job_larger_than_the_bound_gets_in_when_nothing_waits(open_station: Open) -> None:
    station = open_station(limits=Limits(waiting_in_jobs=1))
    job = station.jobs.accept([("", picture(100, seed)) for seed in range(3)], None, "me")
    assert [item["state"] for item in done(station, job["id"])] == ["done"] * 3


def test_jobs_leave_room_on_the_disk(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(100_000, 94_900, 5_100))
    with pytest.raises(Problem, match="nearly full") as caught:
        station.jobs.accept([("", picture(100))], None, "me")
    assert caught.value.status == 507
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(100_000, 50_000, 50_000))
    station.jobs.accept([("", picture(100))], None, "me")


def test_a_job_reads_12_bit_images_as_a_single_request_does(station: Station) -> None:
    detector = station.registry.get("part").active.detector
    settings: Any = detector.settings
    detector.settings = replace(settings, image=ImageSettings(white_level=4095))
    grey = png(np.full((32, 32), 1606, np.uint16))  # 100 of 255
    alone = station.submit(grey, None, "", "me").result(10)

    (item,) = done(station, station.jobs.accept([("", grey)], None, "me")["id"])

    judged = station.inspections.get(item["inspection_id"])
    assert judged["score"] == alone["score"] and not judged["anomalous"]
