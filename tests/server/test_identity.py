"""A folder and a database that do not belong together never open, and nothing in either is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from anomalyvfm.errors import InputError
from anomalyvfm.server.app import create_gate
from anomalyvfm.server.auth.accounts import add_account
from anomalyvfm.server.settings import Settings
from anomalyvfm.server.station import Station
from anomalyvfm.server.store.database import Database
from tests.server.conftest import Open
from tests.server.fake_detector import picture


def _one_part(station: Station) -> int:
    number: int = station.submit(picture(100), None, "", "me").result(10)["id"]
    station.learning.review(number, "good", "ann", "")
    station.version_folders.settle()
    station.close()
    return number


def _all_files(folder: Path) -> dict[str, bytes]:
    kept = (path for part in ("files", "models") for path in (folder / part).rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in kept}


def test_a_new_database_over_a_folder_that_is_full_does_not_open(
    open_station: Open, database_url: str, tmp_path: Path
) -> None:
    """A forgotten --db, or an SQLite file that was moved."""
    station = open_station(database=database_url)
    number = _one_part(station)
    before = _all_files(station.settings.data)

    with pytest.raises(InputError, match="the database is new") as refused:
        open_station(database=f"sqlite:///{tmp_path / 'other.sqlite3'}")

    assert "\n" not in str(refused.value) and station.identity in str(refused.value)
    assert _all_files(station.settings.data) == before
    again = open_station(models=[], database=database_url)
    assert again.inspections.original(number) == picture(100)
    assert again.identity == station.identity


def test_an_empty_folder_under_a_database_that_is_full_does_not_open(
    open_station: Open, database_url: str, tmp_path: Path
) -> None:
    """A volume that is not mounted: no version is given up for it."""
    station = open_station(database=database_url)
    _one_part(station)
    versions = station.models.get("part")

    with pytest.raises(InputError, match="is it mounted") as refused:
        open_station(database=database_url, data=tmp_path / "not-mounted")

    assert station.identity in str(refused.value)
    again = open_station(models=[], database=database_url)
    assert again.models.get("part") == versions


def test_two_stations_do_not_swap_their_databases(open_station: Open, tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path / name}.sqlite3" for name in "ab"]
    stations = [
        open_station(data=tmp_path / name, database=url) for name, url in zip("ab", urls, strict=True)
    ]
    for station in stations:
        _one_part(station)
    before = _all_files(tmp_path / "a")

    with pytest.raises(InputError) as refused:
        open_station(data=tmp_path / "a", database=urls[1])

    assert all(station.identity in str(refused.value) for station in stations)
    assert _all_files(tmp_path / "a") == before


def test_a_station_of_before_there_were_ids_gets_one(open_station: Open, database_url: str) -> None:
    station = open_station(database=database_url)
    number = _one_part(station)
    _forget(station, database_url)

    again = open_station(models=[], database=database_url)

    assert again.inspections.original(number) == picture(100)
    again.close()
    assert open_station(models=[], database=database_url).identity == again.identity


def test_without_ids_a_database_whose_versions_are_elsewhere_does_not_open(
    open_station: Open, database_url: str
) -> None:
    station = open_station(database=database_url)
    _one_part(station)
    _forget(station, database_url)
    models = station.settings.data / "models"
    for folder in (models / "part").iterdir():
        folder.rename(folder.with_name(f"of-another-{folder.name}"))
    before = _all_files(station.settings.data)

    with pytest.raises(InputError, match="none of the versions"):
        open_station(models=[], database=database_url)

    assert _all_files(station.settings.data) == before


def test_a_kill_between_the_two_ids_is_got_over(open_station: Open, tmp_path: Path) -> None:
    station = open_station()
    identity = station.identity
    station.close()
    data = station.settings.data
    for name in ("files", "models"):
        shutil.rmtree(data / name)
    for path in data.glob("station.sqlite3*"):
        path.unlink()
    assert open_station().identity == identity


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"not an id", b"x" * 100_000])
def test_an_id_that_cannot_be_read_is_said(open_station: Open, content: bytes) -> None:
    station = open_station()
    _one_part(station)
    (station.settings.data / "station.id").write_bytes(content)
    with pytest.raises(InputError, match=r"station\.id: holds no station's id"):
        open_station(models=[])


def test_a_disk_without_room_is_said_in_one_line(
    open_station: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    tokens = tmp_path / "tokens"
    add_account(tokens, "ann", "admin", None)
    data = tmp_path / "station"
    with monkeypatch.context() as no_room:
        no_room.setattr("os.fsync", full)
        with pytest.raises(InputError, match=r"cannot start \(No space left on device\); free the disk"):
            create_gate(Settings(data, token_file=tokens))
        assert not list(data.iterdir())
        with pytest.raises(InputError, match=r"cannot start \(No space left on device\); free the disk"):
            open_station()
    create_gate(Settings(data, token_file=tokens))
    open_station()


def _forget(station: Station, database_url: str) -> None:
    """As it was before stations had ids."""
    (station.settings.data / "station.id").unlink()
    database = Database(database_url)
    with database.writing() as session:
        session.execute(text("DELETE FROM station"))
    database.close()
