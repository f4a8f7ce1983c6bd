"""SIGKILL at random moments: what was accepted is there, and nothing is broken."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from anomalyvfm.model_folder import read_description
from anomalyvfm.server.station import Station
from anomalyvfm.server.store import inspections, versions
from tests.server.conftest import Open

KILLS = 4


def test_kills_lose_nothing_that_was_accepted(tmp_path: Path, model_folder: Path, open_station: Open) -> None:
    accepted: list[list[str]] = []
    for number in range(KILLS):
        accepted += _run_and_kill(tmp_path / "station", model_folder, number)

    station = open_station(models=[])

    kinds = {kind for kind, *_ in accepted}
    assert kinds == {"part", "version", "job"}, "the load did all there is to do"
    for kind, name, what in accepted:
        number = int(name)
        if kind == "part":
            row = station.inspections.row(number)
            assert row.image == what
        elif kind == "version":
            assert station.inspections.get(int(what))["label"] == "good"
        else:
            _finished(station, number, int(what))
    # A kill may come between accepting a job and saying so: such jobs are judged too, and have files.
    for job in station.jobs.newest(limit=100_000):
        _finished(station, job["id"], 2)
    taught = {int(name) for kind, name, _ in accepted if kind == "version"}
    assert taught <= {version["number"] for version in station.models.versions("part")}
    # A job's part judged again after the kill may have left a file of its first time; a start sweeps it.
    needed = _check_whole(station)
    station.close()
    assert _files(open_station(models=[])) == needed


def _run_and_kill(data: Path, given: Path, number: int) -> list[list[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.server.kill_target", str(data), str(given), str(1000 * number)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    chance = random.Random(number)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(chance.randrange(2, 30))]
    time.sleep(chance.uniform(0, 0.1))
    process.kill()
    lines += process.stdout.readlines()
    process.wait()
    assert lines.pop(0) == "ready\n"
    # The last line may be cut in two by the kill.
    return [line.split() for line in lines if line.endswith("\n")]


def _finished(station: Station, number: int, images: int) -> None:
    """Jobs accepted before the kill go on after it."""
    for _ in range(400):
        job = station.jobs.get(number)
        if job["state"] == "done":
            break
        time.sleep(0.05)
    assert (job["total"], job["done"]) == (images, images)


def _check_whole(station: Station) -> set[str]:
    """Every row's files are there, and every version can be made; returns the names of the files."""
    needed = set()
    for part in station.inspections.newest(limit=100_000):
        row = station.inspections.row(part["id"])
        assert len(station.inspections.original(part["id"])) > 0
        assert station.inspections.verdict(part["id"]).anomaly_map.shape == (8, 8)
        needed |= {row.image, row.map}
        for number in range(1, len(part["regions"]) + 1):
            with station.reading() as session:
                needed.add(inspections.good_patch(session, part["id"], number).picture)
            assert station.inspections.exhibit(part["id"], number)
    assert needed <= _files(station)
    for folder in (station.settings.data / "models" / "part").iterdir():
        read_description(folder)
    with station.reading() as session:
        made = versions.of_model(session, "part")
    for version in made:
        station.version_folders.load(version)
    return needed


def _files(station: Station) -> set[str]:
    return {path.name for path in (station.settings.data / "files").glob("*/*")}
