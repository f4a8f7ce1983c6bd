"""The database, on both kinds of server, and the files beside it."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from anomalyvfm.errors import InputError
from anomalyvfm.line.fields import FIELDS
from anomalyvfm.server.problems import Problem, as_problem
from anomalyvfm.server.settings import Retention
from anomalyvfm.server.statistics import Bucket
from anomalyvfm.server.store import inspections
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import Files
from anomalyvfm.server.store.inspections import InspectionFilter
from anomalyvfm.server.store.tables import Base
from tests.server import postgres
from tests.server.conftest import Open
from tests.server.fake_detector import picture


def test_migrations_give_the_tables_that_the_code_uses(database_url: str) -> None:
    database = Database(database_url)
    with database.reading() as session:
        differences = compare_metadata(MigrationContext.configure(session.connection()), Base.metadata)
    database.close()
    assert differences == []


def test_a_versions_parts_are_counted_alone(open_station: Open, database_url: str) -> None:
    station = open_station(database=database_url)
    by_first = [station.submit(picture(b), None, f"{b}.png", "me").result(10) for b in (100, 101, 180)]
    station.learning.review(by_first[2]["id"], "good", "ann", "a reflection")
    station.submit(picture(102), None, "102.png", "me").result(10)
    first, second = (station.statistics("part", version=number) for number in (1, 2))
    assert (first["inspections"], first["anomalous"], first["false_alarms"]) == (3, 1, 1)
    assert (second["inspections"], second["anomalous"], second["false_alarms"]) == (1, 0, 0)
    assert [sum(each["histogram"]["counts"]) for each in (first, second)] == [3, 1]
    with pytest.raises(Problem, match="no version 9"):
        station.statistics("part", version=9)


def test_what_is_judged_and_reviewed_is_there_after_a_restart(open_station: Open, database_url: str) -> None:
    station = open_station(database=database_url)
    kept = [station.submit(picture(b), None, f"{b}.png", "me").result(10) for b in (100, 101, 180)]
    station.learning.review(kept[2]["id"], "good", "ann", "a reflection")
    before = station.inspections.newest()
    statistics = station.statistics("part")
    station.close()

    station = open_station(models=[], database=database_url)

    assert station.inspections.newest() == before
    assert [one["label"] for one in before] == ["good", None, None]
    assert [one["anomalous"] for one in before] == [True, False, False]
    assert station.statistics("part") == statistics
    assert (statistics["inspections"], statistics["anomalous"], statistics["false_alarms"]) == (3, 1, 1)
    assert sum(bucket["inspections"] for bucket in statistics["buckets"]) == 3
    assert sum(statistics["histogram"]["counts"]) == 3
    assert station.inspections.verdict(kept[2]["id"]).anomaly_map.max() == 50
    assert station.models.get("part")["active"]["number"] == 2


def test_a_database_of_earlier_days_is_read_on(open_station: Open, database_url: str) -> None:
    station = open_station(database=database_url)
    kept = station.submit(picture(180), None, "bright.png", "me").result(10)
    verdict = station.inspections.verdict(kept["id"])
    with station.database.writing() as session:
        for old, new in (
            ("outline_level", "low_threshold"),
            ("region_level", "high_threshold"),
            ("canvas", "input_frame"),
        ):
            session.execute(text(f"ALTER TABLE inspections RENAME COLUMN {new} TO {old}"))
        for added in ("promised", "light"):
            session.execute(text(f"ALTER TABLE inspections DROP COLUMN {added}"))
        for table in ("station", "answers"):
            session.execute(text(f"DROP TABLE {table}"))
        for column in ("added", "removed"):
            session.execute(text(f"DROP INDEX ix_versions_{column}"))
        session.execute(text("ALTER TABLE versions DROP COLUMN compared"))
        for column in ("kind", "at", "version"):
            session.execute(text(f"DROP INDEX ix_inspections_model_{column}"))
        session.execute(text("ALTER TABLE models DROP COLUMN held_back"))
        for table in ("reviews", "inspections"):
            session.execute(text(f"ALTER TABLE {table} DROP COLUMN kind"))
        for table in ("reviews", "versions"):
            session.execute(text(f"ALTER TABLE {table} DROP COLUMN outline"))
        for field in ("lot", "serial"):
            session.execute(text(f"DROP INDEX ix_inspections_{field}"))
        for field in FIELDS:
            session.execute(text(f"ALTER TABLE inspections DROP COLUMN {field}"))
        session.execute(text("ALTER TABLE jobs DROP COLUMN fields"))
        for table in ("sinks", "put_off", "refusals", "source_files", "line_sources"):
            session.execute(text(f"DROP TABLE {table}"))
        session.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    station.close()

    inspections = open_station(models=[], database=database_url).inspections
    again = inspections.verdict(kept["id"])

    assert (kept["promised"], inspections.get(kept["id"])["promised"]) == (True, None), "it was not kept then"
    assert (again.frame, again.low_threshold, again.high_threshold) == (
        verdict.frame,
        verdict.low_threshold,
        verdict.high_threshold,
    )
    assert again.regions == verdict.regions


def test_a_database_of_later_days_is_refused_in_one_line(open_station: Open, database_url: str) -> None:
    station = open_station(database=database_url)
    with station.database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    station.close()
    with pytest.raises(InputError, match="a database of a newer AnomalyVFM; upgrade"):
        open_station(models=[], database=database_url)


def test_filters_and_pages_find_the_same_on_both(open_station: Open, database_url: str) -> None:
    station = open_station(database=database_url)
    for brightness in (90, 100, 105, 170, 180):
        station.submit(picture(brightness), None, f"cam_{brightness}.png", "me").result(10)

    def ids(wanted: InspectionFilter, **page: int) -> list[int]:
        return [one["id"] for one in station.inspections.newest(wanted, **page)]

    assert ids(InspectionFilter()) == [5, 4, 3, 2, 1]
    assert ids(InspectionFilter(), before=4, limit=2) == [3, 2]
    assert ids(InspectionFilter(), after=2, limit=2) == [4, 3], "the closest ones, newest first"
    assert ids(InspectionFilter(anomalous=True)) == [5, 4]
    assert ids(InspectionFilter(name="cam_1")) == [5, 4, 3, 2], "no wildcards: _ is itself"
    assert ids(InspectionFilter(name="%")) == []
    assert ids(InspectionFilter(name="M_10")) == ids(InspectionFilter(name="_10")) == [3, 2]
    assert ids(InspectionFilter(until=0.0)) == []
    assert ids(InspectionFilter(label="none", min_score=0.0, model="part", version=1)) == [5, 4, 3, 2]


def test_retention_by_age_spares_what_was_reviewed_and_removes_files(
    open_station: Open, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = open_station(database=database_url, retention=Retention(days=30))
    kept = [station.submit(picture(b), None, "", "me").result(10) for b in (100, 101)]
    station.learning.review(kept[0]["id"], "good", "ann")
    later = time.time() + 40 * 86400
    monkeypatch.setattr("anomalyvfm.server.store.retention.now", lambda: later)

    freed = station.tidy()

    assert freed.inspections == 1 and freed.bytes > 0
    assert [one["id"] for one in station.inspections.newest()] == [kept[0]["id"]]
    assert station.files.path(kept[0]["sha256"]).exists()
    assert not station.files.path(kept[1]["sha256"]).exists()


def test_the_audit_log_is_shortened_by_age_and_says_so(
    open_station: Open, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = open_station(database=database_url, retention=Retention(log_days=30))
    station.note("ann", "old", "x")
    days = time.time() + 20 * 86400
    monkeypatch.setattr("anomalyvfm.server.store.audit.now", lambda: days)
    station.note("ann", "newer", "x")
    station.tidy()
    assert [entry["action"] for entry in station.audit(None, 10)] == ["newer", "old", "import"]

    monkeypatch.setattr("anomalyvfm.server.store.retention.now", lambda: time.time() + 40 * 86400)
    station.tidy()
    station.tidy()
    entries = station.audit(None, 10)
    assert [entry["action"] for entry in entries] == ["log shortened", "newer"]
    assert entries[0]["detail"].startswith("2 entries of before 20")


def test_retention_by_size_deletes_the_oldest(open_station: Open, database_url: str) -> None:
    station = open_station(database=database_url)
    for number in range(6):
        station.submit(picture(100, seed=number), None, "", "me").result(10)
    size = sum(path.stat().st_size for path in (station.settings.data / "files").glob("*/*"))
    station.close()
    station = open_station(models=[], database=database_url, retention=Retention(bytes=size // 2))

    station.tidy()

    left = [one["id"] for one in station.inspections.newest()]
    assert left and left == list(range(6, 6 - len(left), -1))
    assert sum(path.stat().st_size for path in (station.settings.data / "files").glob("*/*")) <= size // 2


def test_a_good_patch_is_kept_as_long_as_a_part_shows_it(
    open_station: Open, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = open_station(database=database_url, retention=Retention(days=30))
    kept = [station.submit(picture(180, seed), None, "", "me").result(10) for seed in range(2)]
    with station.reading() as session:
        pictures = {inspections.good_patch(session, part["id"], 1).picture for part in kept}
    assert len(pictures) == 1, "one file for all that show it"
    path = station.files.path(pictures.pop())
    os.utime(path, (0, 0))
    station.learning.review(kept[0]["id"], "unsure", "ann")
    now = time.time()
    monkeypatch.setattr("anomalyvfm.server.store.retention.now", lambda: now + 40 * 86400)
    assert station.tidy().inspections == 1
    assert path.exists() and station.inspections.exhibit(kept[0]["id"], 1)

    monkeypatch.setattr("anomalyvfm.server.store.retention.now", lambda: now + 80 * 86400)
    assert station.tidy().inspections == 1
    assert not path.exists()


def test_files_without_a_row_go_to_the_trash_at_the_start_and_others_stay(
    open_station: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = open_station()
    kept = station.submit(picture(100), None, "", "me").result(10)
    station.close()
    files = Files(station.settings.data / "files")
    with files.keeping() as keep:
        lost = keep(b"a kill came before the row")
    partial = files.path(lost).with_name(f"{lost}.x.partial")
    partial.write_bytes(b"half")
    (station.settings.data / "models" / "part" / ".half-a-version.12.partial").mkdir()
    unnamed = station.settings.data / "models" / "part" / "of-no-row"
    unnamed.mkdir()
    (unnamed / "model.json").write_text("{}")

    station = open_station(models=[])

    assert not files.path(lost).exists() and not partial.exists()
    trash = station.settings.data / "trash" / date.today().isoformat()
    assert (trash / "files" / lost[:2] / lost).read_bytes() == b"a kill came before the row"
    assert (trash / "models" / "part" / "of-no-row" / "model.json").read_text() == "{}"
    station.tidy()
    assert trash.exists(), "for days"
    later = date.today() + timedelta(days=station.settings.trash_days + 1)
    monkeypatch.setattr("anomalyvfm.server.store.trash.date", _Day(later))
    assert station.tidy().bytes == 28
    assert not trash.exists()
    assert station.inspections.original(kept["id"]) == picture(100)
    assert len(list((station.settings.data / "models" / "part").iterdir())) == 1


def test_a_file_on_its_way_is_not_swept_away(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with files.keeping() as keep:
        digest = keep(b"content")
        files.sweep(lambda _: set(), lambda _: False, Path.unlink)
        assert files.read(digest) == b"content"
    files.sweep(lambda _: set(), lambda _: False, Path.unlink)
    assert not files.path(digest).exists()
    assert digest == hashlib.sha256(b"content").hexdigest()


def test_tidying_removes_files_without_a_row_that_are_not_being_written(
    open_station: Open, database_url: str
) -> None:
    station = open_station(database=database_url)
    kept = station.submit(picture(100), None, "", "me").result(10)
    with station.files.keeping() as keep:
        orphans = [keep(b"judged twice, as a kill came between"), keep(b"just written")]
    partial = station.files.path(orphans[0]).with_name("half.partial")
    partial.write_bytes(b"half")
    for path in (station.files.path(orphans[0]), partial, station.files.path(kept["sha256"])):
        os.utime(path, (0, 0))

    freed = station.tidy()

    assert not station.files.path(orphans[0]).exists() and not partial.exists()
    assert station.files.path(orphans[1]).exists()
    assert station.inspections.original(kept["id"]) == picture(100)
    assert freed.bytes == 4, "what is in the trash still takes its place"


def test_a_file_kept_again_while_it_is_swept_stays(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with files.keeping() as keep:
        digest = keep(b"content")
    rows: set[str] = set()
    asked, kept = threading.Event(), threading.Event()

    def named(_: str) -> set[str]:
        asked.set()
        kept.wait(10)
        return set()  # what was so when it was asked

    with ThreadPoolExecutor(1) as sweeping:
        swept = sweeping.submit(files.sweep, named, lambda name: name in rows, Path.unlink)
        assert asked.wait(10)
        with files.keeping() as keep:
            rows.add(keep(b"content"))
        kept.set()
        assert swept.result(10) == 0
    assert files.read(digest) == b"content"


class _Day:
    """A class of dates on which it is one day."""

    def __init__(self, today: date) -> None:
        self._today = today
        self.fromisoformat = date.fromisoformat

    def today(self) -> date:
        return self._today


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "A" * 64, "0" * 63, "/" * 64])
def test_only_a_hash_becomes_a_path(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        Files(tmp_path).path(digest)


def test_two_stations_do_not_share_a_folder(open_station: Open) -> None:
    open_station()
    with pytest.raises(InputError, match="another station works in it"):
        open_station()


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "nonsense", "postgresql://127.0.0.1:1/none", "sqlite:////no/where/x"]
)
def test_a_database_that_cannot_be_used_is_one_line(url: str) -> None:
    with pytest.raises(InputError) as caught:
        Database(url)
    assert "\n" not in str(caught.value)


def test_a_server_that_goes_away_is_a_problem_until_it_is_back() -> None:
    found = postgres.programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed here (no initdb); apt-get install postgresql")
    with postgres.server(found) as folder:
        database = Database(postgres.new_database(folder))
        database.check()
        postgres.control(found, folder, "stop")
        with pytest.raises(DBAPIError) as caught:
            database.check()
        assert as_problem(caught.value).status == 503
        postgres.control(found, folder, "start")
        database.check()
        database.close()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
def test_days_and_hours_of_parts_are_those_of_the_sites_clock(
    open_station: Open, database_url: str, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every quarter of an hour over the night in which Berlin's clocks go back, against plain counting."""
    station = open_station(database=database_url, timezone=zone)
    start = datetime(2026, 10, 24, 18, 7, tzinfo=timezone.utc).timestamp()
    times = [start + 900 * number for number in range(24)]
    for number, at in enumerate(times):
        monkeypatch.setattr("anomalyvfm.server.inspections.recorder.now", lambda at=at: at)
        station.submit(picture(100, number), None, "", "me").result(10)
    forms: list[tuple[Bucket, str]] = [("hour", "%Y-%m-%d %H %z"), ("day", "%Y-%m-%d")]
    for bucket, form in forms:
        local = [datetime.fromtimestamp(at, ZoneInfo(zone)).strftime(form) for at in times]
        found = station.statistics(bucket=bucket)["buckets"]
        starts = [datetime.fromisoformat(one["start"].replace("Z", "+00:00")) for one in found]
        counted = {
            at.astimezone(ZoneInfo(zone)).strftime(form): one["inspections"]
            for at, one in zip(starts, found, strict=True)
        }
        assert counted == Counter(local)


def test_a_time_zone_that_there_is_not_is_one_line(open_station: Open) -> None:
    with pytest.raises(InputError, match="--timezone Mars/Olympus: not a time zone; give one such as"):
        open_station(timezone="Mars/Olympus")
