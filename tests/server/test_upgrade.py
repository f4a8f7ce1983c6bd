"""A station of the first schema, kept as it was then, opens today and goes on."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from anomalyvfm.cli.serve import serve
from anomalyvfm.errors import InputError
from anomalyvfm.server.backup import back_up, restore
from anomalyvfm.server.settings import Settings
from anomalyvfm.server.station import Station
from tests.server.conftest import client_of
from tests.server.fake_detector import FakeDetector, FakeGallery, learned, picture

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector

KEPT = Path(__file__).parent / "kept" / "station_of_schema_0001.zip"


def opened(data: Path) -> Station:
    return Station(Settings(data, decoders=1), [], load)


def load(folder: Path) -> Detector:
    """A stand-in's folder of then or of now; tests/test_old_models.py reads real ones of each schema."""
    body = json.loads((folder / "model.json").read_text())
    fake = FakeDetector(body["learned"], body["calibration"]["false_alarm_rate"])
    fake.gallery_ = FakeGallery(body.get("gallery", {key: key for key in body["learned"]}))
    return cast("Detector", fake)


def test_a_station_of_the_first_schema_opens_with_all_it_had_and_goes_on(tmp_path: Path) -> None:
    shutil.unpack_archive(KEPT, tmp_path / "station")
    station = opened(tmp_path / "station")
    try:
        with station.reading() as session:
            assert session.scalar(text("SELECT version_num FROM alembic_version")) > "0001"
        client = client_of(station)
        parts = client.get("/api/inspections").json()["items"]
        assert [(part["name"], part["label"]) for part in parts] == [
            ("worse.png", "defect"),
            ("odd.png", "good"),
            ("good.png", None),
        ]
        assert [part["anomalous"] for part in parts] == [True, True, False]
        for part in parts:
            assert client.get(f"/api/inspections/{part['id']}/original").status_code == 200
            assert client.get(f"/api/inspections/{part['id']}/heat.png").status_code == 200
            for page in (f"/inspections/{part['id']}", "/wall", "/review", "/trends", "/models/part"):
                assert client.get(page).status_code == 200, page
        versions = client.get("/api/models/part/versions").json()["items"]
        assert [(one["number"], one["action"], one["by"]) for one in versions] == [
            (2, "learn", "ann"),
            (1, "import", "station"),
        ]
        assert learned(station.registry.get("part").active.detector).total() == 2

        number = client.post("/api/judge", content=picture(190, 9)).json()["id"]
        assert number == 4
        said = client.post(f"/api/inspections/{number}/reviews", json={"label": "good"}).json()
        assert said["learning"]["version"] == 3
        assert client.post("/api/reviews/1/undo").json()["learning"]["action"] == "forgotten"
    finally:
        station.close()
    # The other way of moving to today's: a backup, restored.
    back_up(Settings(tmp_path / "station"), tmp_path / "backup")
    restore(tmp_path / "backup", Settings(tmp_path / "restored"))
    again = opened(tmp_path / "restored")
    assert again.registry.get("part").active.number == 4
    again.close()


def test_an_upgrade_that_is_cut_off_leaves_the_database_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.unpack_archive(KEPT, tmp_path / "station")
    with monkeypatch.context() as cut_off:

        def full(*_: object, **__: object) -> None:
            raise OperationalError("CREATE INDEX", {}, Exception("database or disk is full"))

        cut_off.setattr("alembic.op.create_index", full)
        with pytest.raises(InputError, match="disk is full"):
            opened(tmp_path / "station")
    with closing(sqlite3.connect(tmp_path / "station" / "station.sqlite3")) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert "station" not in tables and "answers" not in tables
    opened(tmp_path / "station").close()


@pytest.mark.parametrize("name", ["compose.yaml", "anomalyvfm.service", "Dockerfile"])
def test_options_that_deploy_names_are_there(name: str) -> None:
    """In the files as they are: nothing here can run them."""
    content = (Path(__file__).parents[2] / "deploy" / name).read_text()
    options = {opt for parameter in serve.params for opt in parameter.opts if opt.startswith("--")}
    variables = {f"ANOMALYVFM_{(one.name or '').upper()}" for one in serve.params}
    assert set(re.findall(r"ANOMALYVFM_[A-Z_]+", content)) <= variables
    commands = [line for line in content.splitlines() if re.search(r"anomalyvfm\W+serve ?", line)]
    used = {one for line in commands for one in re.findall(r"--[a-z-]+", line)}
    assert used <= options and (commands or name == "compose.yaml")
