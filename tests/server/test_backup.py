"""A backup of a station that runs is one moment of it, and becomes a station elsewhere."""

from __future__ import annotations

import json
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from anomalyvfm.cli import main
from anomalyvfm.errors import InputError
from anomalyvfm.sealed import seal
from anomalyvfm.server.backup import back_up, restore
from anomalyvfm.server.settings import Retention, Settings
from anomalyvfm.server.station import Station
from tests.server.conftest import Open
from tests.server.fake_detector import FakeDetector, learned, picture


def judge(station: Station, brightness: int, seed: int) -> int:
    number: int = station.submit(picture(brightness, seed), None, f"{seed}.png", "me").result(20)["id"]
    return number


def busy(station: Station, reviews: int = 20) -> None:
    for number in range(reviews):
        station.learning.review(judge(station, 180, number), "good", "ann")
    station.submit(picture(20, 1), None, "", "me").result(20)
    station.reviewed_parts.settle()


def everything(station: Station) -> dict[str, Any]:
    parts = station.inspections.newest(limit=1000)
    versions = station.models.versions("part")
    taught = {}
    for version in versions:
        with station.reading() as session:
            row = _row(session, version["number"])
        taught[version["number"]] = learned(station.version_folders.load(row))
    return {
        "parts": parts,
        "versions": versions,
        "taught": taught,
        "audit": station.audit(None, 1000),
        "originals": {part["id"]: station.inspections.original(part["id"]) for part in parts},
        "maps": {part["id"]: station.inspections.verdict(part["id"]).score for part in parts},
    }


def _row(session: Any, number: int) -> Any:
    from anomalyvfm.server.store import versions

    return versions.find_version(session, "part", number)


def opened(settings: Settings) -> Station:
    return Station(replace(settings, decoders=1), [], FakeDetector.load)


@pytest.mark.parametrize("elsewhere", ["sqlite", "postgresql"])
def test_a_station_restored_elsewhere_has_everything(
    open_station: Open,
    database_url: str,
    elsewhere: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """From either database to either."""
    station = open_station(database=database_url)
    busy(station)
    before = everything(station)
    back_up(station.settings, tmp_path / "backup")
    judge(station, 100, 99)  # the station goes on
    url = None
    if elsewhere == "postgresql":
        from tests.server import postgres

        url = postgres.new_database(request.getfixturevalue("postgres_socket"))
    settings = Settings(tmp_path / "restored", url)

    copied = restore(tmp_path / "backup", settings)

    assert copied.rows > 40 and copied.files > 40
    again = opened(settings)
    try:
        assert everything(again) == before
        assert again.identity != station.identity
        # Numbers go on where they were, and everything works.
        number = judge(again, 180, 500)
        assert number == before["parts"][0]["id"] + 1
        assert again.learning.review(number, "good", "eve").learning["version"] == 22
    finally:
        again.close()


def test_a_number_of_a_part_that_is_deleted_is_not_given_again_after_restoring(
    open_station: Open, database_url: str, tmp_path: Path
) -> None:
    station = open_station(database=database_url, retention=Retention(days=0))
    last = [judge(station, 100, number) for number in range(3)][-1]
    station.tidy()
    back_up(station.settings, tmp_path / "backup")
    restore(tmp_path / "backup", Settings(tmp_path / "restored"))
    again = opened(Settings(tmp_path / "restored"))
    try:
        assert judge(again, 100, 7) == last + 1
    finally:
        again.close()


def test_a_backup_is_renewed_with_what_is_new_and_without_what_is_gone(
    open_station: Open, tmp_path: Path
) -> None:
    station = open_station()
    busy(station, 3)
    station.version_folders.settle()  # a whole copy, written when the station is quiet, would be new
    first = back_up(station.settings, tmp_path / "backup")
    assert back_up(station.settings, tmp_path / "backup").new_bytes == 0
    judge(station, 100, 50)
    second = back_up(station.settings, tmp_path / "backup")
    assert 0 < second.new_bytes < first.new_bytes / 2
    station.settings = replace(station.settings, retention=Retention(days=0))
    station.tidy()
    third = back_up(station.settings, tmp_path / "backup")
    names = [path for path in (tmp_path / "backup" / "files").glob("*/*")]
    assert third.files == len(names) < second.files
    assert len(list((tmp_path / "backup").glob("*.sqlite3*"))) == 1
    restore(tmp_path / "backup", Settings(tmp_path / "restored"))


def test_nothing_is_deleted_while_a_backup_copies(
    open_station: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retention would take everything between the rows and their files."""
    station = open_station(retention=Retention(days=0))
    judge(station, 100, 1)
    from anomalyvfm.server import backup

    copying, go_on = threading.Event(), threading.Event()
    copy_files = backup._copy_files

    def slow(*arguments: Any) -> Any:
        copying.set()
        assert go_on.wait(20)
        return copy_files(*arguments)

    monkeypatch.setattr(backup, "_copy_files", slow)
    running = threading.Thread(target=back_up, args=(station.settings, tmp_path / "backup"))
    running.start()
    assert copying.wait(20)
    assert station.tidy().inspections == 0
    go_on.set()
    running.join()
    assert station.tidy().inspections == 1
    monkeypatch.undo()
    assert restore(tmp_path / "backup", Settings(tmp_path / "restored")).files == 2


def test_a_backup_that_is_cut_off_leaves_the_earlier_one_and_is_taken_again(
    open_station: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = open_station()
    busy(station, 2)
    back_up(station.settings, tmp_path / "backup")
    for cut in ("_copy_files", "_copy_versions", "_to_one_file", "write_sealed"):
        judge(station, 100, 60)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as no_room:
            no_room.setattr(f"anomalyvfm.server.backup.{cut}", full)
            with pytest.raises(InputError, match="No space left on device; free its disk"):
                back_up(station.settings, tmp_path / "backup")
        restore(tmp_path / "backup", Settings(tmp_path / cut))
        opened(Settings(tmp_path / cut)).close()
    back_up(station.settings, tmp_path / "backup")
    assert len(list((tmp_path / "backup").glob("*.sqlite3*"))) == 1


def test_a_backup_that_is_broken_is_never_restored(open_station: Open, tmp_path: Path) -> None:
    station = open_station()
    busy(station, 2)
    whole = tmp_path / "backup"
    back_up(station.settings, whole)
    kinds = {
        "an image": next((whole / "files").glob("*/*")),
        "a version": next((whole / "models").glob("*/*/model.json")),
        "the rows": next(whole.glob("*.sqlite3")),
        "the document": whole / "backup.json",
    }
    for number, place in enumerate(kinds.values()):
        broken = tmp_path / f"broken{number}"
        shutil.copytree(whole, broken)
        path = broken / place.relative_to(whole)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"changed|not readable as JSON"):
            restore(broken, Settings(tmp_path / f"restored{number}"))
        shutil.rmtree(broken)
        shutil.copytree(whole, broken)
        (broken / place.relative_to(whole)).unlink()
        with pytest.raises(InputError, match=r"missing|cannot be read"):
            restore(broken, Settings(tmp_path / f"restored{number}"))
        # What was cut off goes on with a whole one.
        restore(whole, Settings(tmp_path / f"restored{number}"))


@pytest.mark.parametrize("name", ["../../outside", "part/../../x/model.json", "/etc/passwd"])
def test_a_backup_whose_names_lead_elsewhere_is_refused(
    open_station: Open, tmp_path: Path, name: str
) -> None:
    station = open_station()
    back_up(station.settings, tmp_path / "backup")
    document = tmp_path / "backup" / "backup.json"
    body = json.loads(document.read_text())
    body["version_files"][name] = "0" * 64
    document.write_text(json.dumps({**body, "sha256": seal(body)}))
    with pytest.raises(InputError, match="names files that no backup has"):
        restore(tmp_path / "backup", Settings(tmp_path / "restored"))


def test_what_cannot_be_backed_up_or_restored_is_said_in_one_line(
    open_station: Open, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = open_station()
    back_up(station.settings, tmp_path / "backup")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    other = tmp_path / "other_station"
    FakeDetector().save(tmp_path / "second" / "part")
    Station(Settings(other, decoders=1), [tmp_path / "second" / "part"], FakeDetector.load).close()
    data, db = str(station.settings.data), database_url
    cases = [
        (["backup", "--data", str(tmp_path / "none"), "--out", "b"], "holds no station"),
        (["backup", "--data", data, "--out", str(tmp_path / "other")], "something else than a backup"),
        (["backup", "--data", str(other), "--out", str(tmp_path / "backup")], "is the backup of station"),
        (["backup", "--data", data, "--db", db, "--out", "b"], "no such database|no station's yet"),
        (["backup", "--data", data, "--out", "/proc/x"], "/proc/x"),
        (["restore", str(tmp_path / "other"), "--data", "d"], "backup.json is missing"),
        (["restore", str(tmp_path / "backup"), "--data", data], "not empty"),
        (
            ["restore", str(tmp_path / "backup"), "--data", "d", "--db", f"sqlite:///{data}/station.sqlite3"],
            "a station's already",
        ),
    ]
    monkeypatch.chdir(tmp_path)
    for arguments, message in cases:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2, (arguments, result.output)
        (line,) = result.output.strip().splitlines()
        assert re.search(message, line), (arguments, line)
    assert (tmp_path / "other" / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "none").exists()


def test_the_commands_say_what_they_copied(open_station: Open, tmp_path: Path) -> None:
    station = open_station()
    judge(station, 100, 1)
    backup, data = str(tmp_path / "backup"), str(tmp_path / "restored")
    said = CliRunner().invoke(main, ["backup", "--data", str(station.settings.data), "--out", backup])
    assert "2 images and maps" in said.output and "MB copied" in said.output, said.output
    said = CliRunner().invoke(main, ["restore", backup, "--data", data, "--json"])
    assert json.loads(said.output)["files"] == 2
