"""SIGKILL at random moments under load, and a restart each time: nothing that was accepted is lost."""

from __future__ import annotations

import http.client
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anomalyvfm.errors import InputError
from anomalyvfm.model_folder import read_calibration, read_description, read_tensors
from tests.acceptance.station_process import Clients, Server, ask, missing

CLIENTS = 4
SECONDS_TO_START = 3.0
_LOAD = (
    "import sys, time; started = time.perf_counter()\n"
    "from anomalyvfm.detector import Detector\n"
    "Detector.load(sys.argv[1]).prepare(); print(time.perf_counter() - started)"
)


def review_some(server: Server, clients: Clients, most: int, learned: dict[int, int]) -> None:
    """Call parts that raised an alarm good; ``learned`` gets the version of each that was acknowledged."""
    client = server.client()
    said = json.dumps({"label": "good"}).encode()
    done = 0
    try:
        while done < most:
            if len(clients.anomalous) <= done:
                time.sleep(0.02)
                if clients.broken:
                    return
                continue
            part = clients.anomalous[done]
            status, answer = ask(client, "POST", f"/api/inspections/{part}/reviews", said)
            if status == 200:
                learned[part] = answer["learning"]["version"]
            done += 1
    except (OSError, http.client.HTTPException, ValueError):
        return  # killed


def broken_models(data: Path) -> int:
    """Copies of versions, and calibrations, that are not what was written."""
    broken = 0
    for folder in (data / "models").glob("*/*"):
        try:
            if folder.suffix == ".calibration":
                read_calibration(folder)
            else:
                read_tensors(folder, read_description(folder))
        except InputError as error:  # noqa: PERF203
            sys.stderr.write(f"{error}\n")
            broken += 1
    return broken


def lost_versions(server: Server) -> tuple[int, int]:
    """How many versions are kept, and how many of them cannot be made from what is on the disk."""
    client = server.client()
    name = ask(client, "GET", "/api/models")[1]["items"][0]["name"]
    versions = ask(client, "GET", f"/api/models/{name}/versions")[1]["items"]
    kept = [version["number"] for version in versions if version["kept"]]
    lost = 0
    for number in kept:
        client.request("GET", f"/api/models/{name}/versions/{number}/export")
        answer = client.getresponse()
        answer.read()
        lost += answer.status != 200
    return len(kept), lost


def kills(model: Path, images: list[bytes], count: int) -> dict[str, Any]:
    accepted: dict[int, str] = {}
    learned: dict[int, int] = {}
    starts, forgotten = [], 0
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "station"
        for _ in range(count):
            server = Server(data, model)
            starts.append(server.seconds_to_start)
            active = ask(server.client(), "GET", "/api/models")[1]["items"][0]["active"]["number"]
            forgotten += active < max(learned.values(), default=1)
            clients = Clients(server, images, CLIENTS)
            most = chance.randrange(3)
            person = threading.Thread(target=review_some, args=(server, clients, most, learned))
            person.start()
            wanted, until = chance.randrange(40), time.perf_counter() + 20
            while len(clients.accepted) < wanted and time.perf_counter() < until:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.5))
            server.process.kill()
            server.process.wait()
            clients.stop()
            person.join()
            accepted |= clients.accepted
        server = Server(data, model)
        client = server.client()
        lost = missing(server, accepted)
        unlabelled = sum(
            ask(client, "GET", f"/api/inspections/{part}")[1]["label"] != "good" for part in learned
        )
        given_up = sum(
            entry["action"] == "lost" for entry in ask(client, "GET", "/api/audit?limit=1000")[1]["items"]
        )
        versions, not_made = lost_versions(server)
        status, _ = ask(client, "POST", "/api/judge", images[0])
        server.stop()
        broken = broken_models(data)
    run = [sys.executable, "-c", _LOAD, str(model)]
    load = min(float(subprocess.run(run, check=True, capture_output=True, text=True).stdout) for _ in "123")
    late = sum(start > SECONDS_TO_START + load for start in starts)
    return {
        "kills": count,
        "accepted": len(accepted),
        "accepted_but_missing": lost,
        "reviews": len(learned),
        "reviews_but_missing": unlabelled,
        "starts_with_an_older_model": forgotten,
        "versions_given_up": given_up,
        "versions": versions,
        "versions_that_cannot_be_made": not_made,
        "broken_model_folders": broken,
        "judges_afterwards": status == 200,
        "import_and_load_s": round(load, 2),
        "start_s": {"median": round(statistics.median(starts), 2), "max": round(max(starts), 2)},
        "starts_later_than_promised": late,
        "kept": status == 200
        and not (lost or unlabelled or forgotten or given_up or not_made or broken or late),
    }


def test_nothing_accepted_is_lost_and_a_start_is_quick(
    tiny: tuple[Path, list[bytes]], pytestconfig: pytest.Config, keeps: Callable[[dict[str, Any]], None]
) -> None:
    keeps(kills(*tiny, int(pytestconfig.getoption("--kills"))))
