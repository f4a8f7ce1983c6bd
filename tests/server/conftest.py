"""Stations over a detector that judges by brightness, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from anomalyvfm.server.app import create_app, create_gate
from anomalyvfm.server.settings import Limits, Settings
from anomalyvfm.server.station import Station
from tests.server import postgres
from tests.server.fake_detector import FakeDetector

Open = Callable[..., Station]


@pytest.fixture(scope="session")
def postgres_socket() -> Iterator[str]:
    found = postgres.programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed here (no initdb); apt-get install postgresql")
    with postgres.server(found) as folder:
        yield folder


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.sqlite3'}"
    return postgres.new_database(request.getfixturevalue("postgres_socket"))


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "given" / "part"
    FakeDetector().save(folder)
    return folder


@pytest.fixture
def open_station(tmp_path: Path, model_folder: Path) -> Iterator[Open]:
    """Opens stations with settings of choice, and closes them."""
    opened: list[Station] = []

    def open_(models: list[Path] | None = None, **changes: Any) -> Station:
        base = Settings(tmp_path / "station", decoders=1, limits=Limits(decode_seconds=20))
        given = [model_folder] if models is None else models
        station = Station(replace(base, **changes), given, FakeDetector.load)
        opened.append(station)
        return station

    yield open_
    for station in opened:
        station.close()


@pytest.fixture
def station(open_station: Open) -> Station:
    return open_station()


@pytest.fixture
def client(station: Station) -> TestClient:
    """Of a station without tokens."""
    return client_of(station)


def client_of(station: Station) -> TestClient:
    app = create_app(station, create_gate(station.settings))
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
