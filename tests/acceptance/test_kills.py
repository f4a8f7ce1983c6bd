"""SIGKILL at random moments under load, and a restart each time: nothing that was accepted is lost."""

from __future__ import annotations

import http.client
import json
import random
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
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


@dataclass
class Reviews:
    """What a person has answered: what was acknowledged, and what was sent, which may be kept as well."""

    acknowledged: dict[int, str] = field(default_factory=dict)
    sent: dict[int, str] = field(default_factory=dict)
    count: int = 0
    newest_version: int = 1

    def missing(self, part: int, label: str | None) -> bool:
        return label not in (self.acknowledged[part], self.sent[part])

    def give(self, client: http.client.HTTPConnection, part: int, label: str) -> None:
        self.sent[part] = label
        said = json.dumps({"label": label}).encode()
        status, answer = ask(client, "POST", f"/api/inspections/{part}/reviews", said)
        if status == 200:
            self.acknowledged[part] = label
            self.count += 1
            self.newest_version = max(self.newest_version, answer["learning"]["version"])


def review_some(server: Server, clients: Clients, most: int, reviews: Reviews) -> None:
    """Call a part that raised an alarm good, or where none does any more, one that was called so unsure."""
    client = server.client()
    try:
        for _ in range(most):
            until = time.perf_counter() + 0.2
            while not (fresh := set(clients.anomalous) - set(reviews.sent)) and time.perf_counter() < until:
                time.sleep(0.02)
            learned = [part for part, label in reviews.acknowledged.items() if label == "good"]
            if fresh:
                reviews.give(client, min(fresh), "good")
            elif learned:
                reviews.give(client, learned[-1], "unsure")
    except (OSError, http.client.HTTPException, ValueError):
        return  # killed


def as_keys(value: Any) -> Any:
    """Numbers of parts, which JSON makes text of."""
    return {int(key): one for key, one in value.items()} if isinstance(value, dict) else value


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


def kill_once(server: Server, images: list[bytes], reviews: Reviews, chance: random.Random) -> dict[int, str]:
    """Post and review for a while, and kill; the parts that were accepted."""
    clients = Clients(server, images, CLIENTS)
    person = threading.Thread(target=review_some, args=(server, clients, chance.randrange(4), reviews))
    person.start()
    wanted, until = chance.randrange(40), time.perf_counter() + 20
    while len(clients.accepted) < wanted and time.perf_counter() < until:
        time.sleep(0.005)
    time.sleep(chance.uniform(0, 0.5))
    server.process.kill()
    server.process.wait()
    clients.stop()
    person.join()
    return clients.accepted


def kills(model: Path, images: list[bytes], count: int, folder: Path) -> dict[str, Any]:
    """A row is written after each kill; a run in the folder of an earlier one goes on after its rows."""
    if not (folder / "model").exists():
        shutil.copytree(model, folder / "model")
    data, model, written = folder / "station", folder / "model", folder / "rows.jsonl"
    accepted: dict[int, str] = {}
    reviews = Reviews()
    starts, forgotten = [], 0
    rows = [json.loads(line) for line in written.read_text().splitlines()] if written.exists() else []
    for number in range(count):
        if number < len(rows):
            row = rows[number]
            reviews = Reviews(**{key: as_keys(value) for key, value in row["reviews"].items()})
        else:
            server = Server(data, model)
            active = ask(server.client(), "GET", "/api/models")[1]["items"][0]["active"]["number"]
            row = {"start_s": server.seconds_to_start, "forgotten": active < reviews.newest_version}
            row["accepted"] = kill_once(server, images, reviews, random.Random(number))
            with written.open("a") as stream:
                stream.write(json.dumps(row | {"reviews": asdict(reviews)}) + "\n")
        starts.append(row["start_s"])
        forgotten += row["forgotten"]
        accepted |= as_keys(row["accepted"])
    server = Server(data, model)
    client = server.client()
    lost = missing(server, accepted)
    unlabelled = sum(
        reviews.missing(part, ask(client, "GET", f"/api/inspections/{part}")[1]["label"])
        for part in reviews.acknowledged
    )
    given_up = sum(
        entry["action"] == "lost" for entry in ask(client, "GET", "/api/audit?limit=1000")[1]["items"]
    )
    versions, not_made = lost_versions(server)
    # Making every version anew takes minutes: the client's connection has been closed meanwhile.
    status, _ = ask(server.client(), "POST", "/api/judge", images[0])
    server.stop()
    broken = broken_models(data)
    run = [sys.executable, "-c", _LOAD, str(model)]
    load = min(float(subprocess.run(run, check=True, capture_output=True, text=True).stdout) for _ in "123")
    late = sum(start > SECONDS_TO_START + load for start in starts)
    return {
        "kills": count,
        "accepted": len(accepted),
        "accepted_but_missing": lost,
        "reviews": reviews.count,
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
    tiny: tuple[Path, list[bytes]],
    tmp_path: Path,
    pytestconfig: pytest.Config,
    keeps: Callable[[dict[str, Any]], None],
) -> None:
    folder = pytestconfig.getoption("--folder") or tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    keeps(kills(*tiny, int(pytestconfig.getoption("--kills")), folder))
