"""A year of a line in some minutes: many rows, many versions, the retention, a backup restored elsewhere."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, insert, select

from anomalyvfm.detector import Detector
from anomalyvfm.server.app import create_app, create_gate
from anomalyvfm.server.backup import back_up, restore
from anomalyvfm.server.settings import Retention, Settings
from anomalyvfm.server.station import Station
from anomalyvfm.server.store import versions
from anomalyvfm.server.store.tables import Base, InspectionRow
from tests.server import postgres
from tests.server.conftest import postgres_socket  # noqa: F401 - a fixture

DAYS = 365
KEPT_DAYS = 180
PAGES = {
    "wall": "/wall",
    "list": "/inspections",
    "list_by_name": "/inspections?name=00017",
    "list_by_day": "/inspections?since={day}&until={day}",
    "trends_of_a_month": "/trends?span=month",
    "review": "/review",
    "model": "/models/{model}",
}
MOST_MS = 2000.0
_A_TIME = 5000


def fill(station: Station, rows: int) -> None:
    """Rows over a year, each like one of the parts that were judged, with its files."""
    table = Base.metadata.tables["inspections"]
    with station.reading() as session:
        judged = [dict(row) for row in session.execute(select(table)).mappings()]
    step = DAYS * 86400 / rows
    start = time.time() - DAYS * 86400
    for first in range(0, rows, _A_TIME):
        batch = []
        for number in range(first, min(first + _A_TIME, rows)):
            at = start + number * step
            row = {key: value for key, value in judged[number % len(judged)].items() if key != "id"}
            name = f"cam1_{number:07}.png"
            # What people have looked at are the parts judged above, and a few more.
            label = "defect" if row["anomalous"] and number % 7 == 0 else None
            row |= {"at": at, "hour": int(at // 3600), "name": name, "label": label, "review_id": None}
            batch.append(row)
        with station.database.writing() as session:
            session.execute(insert(table), batch)


def learn(station: Station, images: list[bytes], count: int) -> list[float]:
    """Versions by review, each undone or given anew in turn; milliseconds of each."""
    parts = [station.submit(image, None, "", "line").result(60)["id"] for image in images]
    milliseconds = []
    for number in range(count):
        part = parts[number // 2 % len(parts)]
        started = time.perf_counter()
        # Learned or forgotten in turn, so that each makes a version.
        station.learning.review(part, "good" if number % 2 == 0 else "defect", "ann")
        milliseconds.append(1000 * (time.perf_counter() - started))
    return milliseconds


def milliseconds(client: TestClient, path: str) -> float:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        assert client.get(path).status_code == 200, path
        times.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(times))


@contextmanager
def opened(settings: Settings, models: list[Path]) -> Iterator[Station]:
    station = Station(settings, models, lambda folder: Detector.load(folder, device="cpu"))
    try:
        yield station
    finally:
        station.close()


def count(station: Station) -> int:
    with station.reading() as session:
        return session.scalar(select(func.count()).select_from(InspectionRow)) or 0


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def a_year(
    model: Path, images: list[bytes], database: str, elsewhere: str, folder: Path, rows: int
) -> dict[str, Any]:
    settings = Settings(folder / "station", database, decoders=1)
    with opened(settings, [model]) as station:
        name = station.registry.names()[0]
        judged = [(image, station.submit(image, None, "", "line").result(60)) for image in images]
        rejected = [image for image, part in judged if part["anomalous"]]
        reviews = learn(station, rejected or images, 500)
        fill(station, rows)
        station.version_folders.settle()
        client = TestClient(create_app(station, create_gate(settings)), base_url="http://localhost")
        day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 100 * 86400))
        pages = {what: milliseconds(client, path.format(day=day, model=name)) for what, path in PAGES.items()}
        before, made = count(station), len(station.models.versions(name))
    with opened(replace(settings, retention=Retention(days=KEPT_DAYS)), []) as station:
        started = time.perf_counter()
        station.tidy()
        tidied = time.perf_counter() - started
        after = count(station)
        kept = [version["number"] for version in station.models.versions(name) if version["kept"]]
        full_bytes = max(bytes_of(one) for one in (settings.data / "models" / name).iterdir())
        taken = back_up(settings, folder / "backup")
        again = back_up(settings, folder / "backup")
        goes_on = station.submit(images[0], None, "after the backup", "line").result(60)
    target = Settings(folder / "restored", elsewhere, decoders=1)
    restored = restore(folder / "backup", target)
    started = time.perf_counter()
    with opened(target, []) as station:
        start = time.perf_counter() - started
        with station.reading() as session:
            rows_kept = [versions.find_version(session, name, number) for number in kept]
        for row in rows_kept[:: max(1, len(rows_kept) // 10)]:
            station.version_folders.load(row)
        same = count(station) == after
        next_number = station.submit(images[0], None, "", "line").result(60)["id"]
    return {
        "database": database.partition(":")[0],
        "restored_to": elsewhere.partition(":")[0],
        "rows": before,
        "versions": made,
        "review_ms": {
            "p50": round(statistics.median(reviews)),
            "p95": round(sorted(reviews)[int(0.95 * len(reviews))]),
        },
        "page_ms": pages,
        "retention": {"days": KEPT_DAYS, "rows_left": after, "seconds": round(tidied, 1)},
        "versions_kept": len(kept),
        "versions_mb": round(bytes_of(settings.data / "models") / 1e6, 1),
        "copy_mb": round(full_bytes / 1e6, 1),
        "backup": {"rows": taken.rows, "seconds": round(taken.seconds, 1), "again": round(again.seconds, 1)},
        "restore_seconds": round(restored.seconds, 1),
        "restored_rows_equal": same,
        "start_seconds": round(start, 1),
        "kept": same
        and restored.rows == taken.rows
        and next_number == goes_on["id"]
        and max(pages.values()) <= MOST_MS
        and bytes_of(settings.data / "models") < 0.25 * len(kept) * full_bytes,
    }


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_year_of_a_line_stays_quick_and_is_restored_elsewhere(
    kind: str,
    tiny: tuple[Path, list[bytes]],
    tmp_path: Path,
    pytestconfig: pytest.Config,
    keeps: Callable[[dict[str, Any]], None],
    request: pytest.FixtureRequest,
) -> None:
    """On each database, and restored to the other."""
    server = postgres.new_database(request.getfixturevalue("postgres_socket"))
    file = f"sqlite:///{tmp_path / 'one.sqlite3'}"
    urls = (file, server) if kind == "sqlite" else (server, file)
    keeps(a_year(*tiny, *urls, tmp_path, int(pytestconfig.getoption("--rows"))))
