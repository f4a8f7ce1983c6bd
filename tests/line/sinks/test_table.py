"""Files of shifts: each part once, in the shift it was judged in, whatever a process is killed at."""

from __future__ import annotations

import csv
import json
import os
import tempfile
import time as clock
from collections.abc import Iterator
from datetime import datetime, time, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.errors import InputError
from anomalyvfm.line.fields import Shifts
from anomalyvfm.line.ledger import Ledger
from anomalyvfm.line.messages import Message, describe
from anomalyvfm.line.settings import LineSettings, TableSettings
from anomalyvfm.line.sinks import opening, table
from anomalyvfm.line.sinks.sink import SinkDownError
from anomalyvfm.line.sinks.table import COLUMNS, ShiftTables
from anomalyvfm.line.states import States

EARLY_AND_LATE = Shifts({"early": time(6), "late/2": time(14)})
VERDICT = {
    "score": 0.25,
    "p_value": 0.5,
    "promised": True,
    "light": None,
    "ms": 4.5,
    "anomalous": True,
    "regions": [{"area": 20}, {"area": 3}],
}


def message(number: int, at: str = "2026-11-30T09:00", **more: Any) -> Message:
    """``at`` by this machine's clock."""
    content = describe(
        number=number,
        part_id=f"line-{number}",
        at=datetime.fromisoformat(at).timestamp(),
        path=more.get("path", f"{number}.png"),
        sha256="ab",
        fields=more.get("fields", {"lot": "L7"}),
        model={"name": "gear", "version": 2},
        verdict=more.get("verdict", VERDICT),
    )
    return Message(number, content["id"], content["outcome"], json.dumps(content), None)


def tables(folder: Path, kind: str = "csv", shifts: Shifts = EARLY_AND_LATE) -> ShiftTables:
    settings = TableSettings.model_validate({"kind": "table", "folder": str(folder), "format": kind})
    return ShiftTables(settings, shifts)


def rows(place: Path) -> list[dict[str, str]]:
    with place.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read_parquet(place: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet  # type: ignore[import-untyped]  # it has no type hints

    found: list[dict[str, Any]] = parquet.read_table(place).to_pylist()
    return found


@pytest.fixture
def over(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What has been quiet for no time at all counts as over."""
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(table, "_IS_OVER_SECONDS", 0.0)
    monkeypatch.setattr(table, "_LOOK_SECONDS", 0.0)
    yield


def long_ago(place: Path) -> None:
    os.utime(place, (clock.time() - 9e6,) * 2)


def test_each_part_is_a_row_of_its_shift(tmp_path: Path) -> None:
    sent = [
        message(1, "2026-11-30T05:59"),  # of the night, which began the day before
        message(2),
        message(3, "2026-11-30T14:00", verdict={"error": "torn:\n12 rows"}),
    ]
    assert list(tables(tmp_path).send(sent)) == [None] * 3
    assert sorted(place.name for place in tmp_path.iterdir()) == [
        "2026-11-29-late_2.csv",
        "2026-11-30-early.csv",
        "2026-11-30-late_2.csv",
    ]
    (row,) = rows(tmp_path / "2026-11-30-early.csv")
    assert tuple(row) == COLUMNS
    assert (row["id"], row["number"], row["outcome"], row["lot"], row["serial"]) == (
        *("line-2", "2", "anomalous", "L7", ""),
    )
    assert (row["regions"], row["area"], row["score"], row["version"]) == ("2", "23", "0.25", "2")
    (refused,) = rows(tmp_path / "2026-11-30-late_2.csv")
    assert (refused["outcome"], refused["error"], refused["score"]) == ("refused", "torn: 12 rows", "")


def test_a_shift_is_one_by_the_clock_of_the_site(tmp_path: Path) -> None:
    settings = TableSettings.model_validate({"kind": "table", "folder": str(tmp_path)})
    at = datetime(2026, 11, 30, 23, 30, tzinfo=timezone.utc)
    sent = [message(1, at.isoformat())]
    list(ShiftTables(settings, EARLY_AND_LATE, ZoneInfo("Asia/Tokyo")).send(sent))  # 8:30 of the next day
    assert [place.name for place in tmp_path.iterdir()] == ["2026-12-01-early.csv"]


def test_without_shifts_a_file_is_of_a_day(tmp_path: Path) -> None:
    list(tables(tmp_path, shifts=Shifts({})).send([message(1), message(2, "2026-12-01T00:00")]))
    assert [len(rows(tmp_path / f"{day}.csv")) for day in ("2026-11-30", "2026-12-01")] == [1, 1]


def test_a_spreadsheet_runs_nothing(tmp_path: Path) -> None:
    list(tables(tmp_path).send([message(1, path='=cmd|"/C calc"', fields={"lot": "@x"})]))
    (row,) = rows(tmp_path / "2026-11-30-early.csv")
    assert (row["path"], row["lot"]) == ('\'=cmd|"/C calc"', "'@x")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8), st.integers(0, 300)), max_size=8))
def test_who_is_killed_anywhere_has_each_part_once(kind: str, runs: list[tuple[int, int, int]]) -> None:
    """Each run writes some, has noted fewer, and leaves the beginning of the next line behind."""
    with tempfile.TemporaryDirectory() as place:
        folder, noted = Path(place), 0
        for count, not_noted, torn in [*runs, (50, 0, 0)]:
            end = noted + count
            list(tables(folder, kind).send([message(number) for number in range(noted + 1, end + 1)]))
            noted = max(noted, end - not_noted)
            (file,) = folder.iterdir()
            next_line = file.read_bytes().splitlines()[-1].replace(b"line-", b"line-9")
            file.write_bytes(file.read_bytes() + next_line[:torn])
        list(tables(folder, kind).send([message(noted + 1)]))
        found = [row["id"] for row in rows(file)] if kind == "csv" else []
        if kind == "parquet":
            table._finish(file)
            found = [row["id"] for row in read_parquet(folder / "2026-11-30-early.parquet")]
        assert found == [f"line-{number}" for number in range(1, noted + 2)]


def test_parquet_is_made_when_a_shift_is_over(tmp_path: Path, over: None) -> None:
    sink = tables(tmp_path, "parquet")
    list(sink.send([message(1), message(2, verdict={"error": "torn"}), message(3, "2026-11-30T15:00")]))
    running = tmp_path / "2026-11-30-early.running.jsonl"
    assert running.exists()
    long_ago(running)
    sink.beat()
    assert sorted(place.name for place in tmp_path.iterdir()) == [
        "2026-11-30-early.parquet",
        "2026-11-30-late_2.running.jsonl",
    ]
    one, two = read_parquet(tmp_path / "2026-11-30-early.parquet")
    assert tuple(one) == COLUMNS
    assert one["at"].astimezone() == datetime.fromisoformat("2026-11-30T09:00").astimezone()
    assert (one["score"], one["regions"], one["lot"], one["promised"]) == (0.25, 2, "L7", True)
    assert (two["score"], two["error"], two["outcome"]) == (None, "torn", "refused")


def test_what_comes_late_is_added_and_what_a_killed_process_had_added_is_not_added_again(
    tmp_path: Path, over: None
) -> None:
    sink = tables(tmp_path, "parquet")
    running = tmp_path / "2026-11-30-early.running.jsonl"
    for sent in ([message(1), message(2)], [message(2), message(3)]):
        list(sink.send(sent))
        sink._place = None  # as another process would
        running.write_bytes(running.read_bytes() + b'{"id": "li')  # of one that was killed
        long_ago(running)
        sink.beat()
    found = [row["id"] for row in read_parquet(tmp_path / "2026-11-30-early.parquet")]
    assert found == ["line-1", "line-2", "line-3"]


def test_a_shift_under_way_is_left_alone(tmp_path: Path, over: None) -> None:
    sink = tables(tmp_path, "parquet", Shifts({}))
    list(sink.send([message(1, datetime.now().isoformat())]))
    sink.beat()
    assert [place.suffix for place in tmp_path.iterdir()] == [".jsonl"]


def test_a_folder_that_vanishes_is_down_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    sink = tables(folder)
    with pytest.raises(SinkDownError, match="no such folder"):
        sink.beat()
    folder.mkdir()
    assert list(sink.send([message(1)])) == [None]
    folder.rename(tmp_path / "away")
    with pytest.raises(SinkDownError, match="no such folder"):
        list(sink.send([message(2)]))
    (tmp_path / "away").rename(folder)
    assert list(sink.send([message(2)])) == [None]
    assert len(rows(folder / "2026-11-30-early.csv")) == 2


def test_a_disk_that_fills_up_takes_nothing_or_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = tables(tmp_path)
    list(sink.send([message(1)]))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(SinkDownError, match="No space left"):
            list(sink.send([message(2)]))
    assert list(sink.send([message(2)])) == [None]
    assert [row["id"] for row in rows(tmp_path / "2026-11-30-early.csv")] == ["line-1", "line-2"]


def test_files_of_others_are_named_and_left(tmp_path: Path, over: None) -> None:
    (tmp_path / "2026-11-30-early.running.jsonl").write_text("hello\n")
    sink = tables(tmp_path, "parquet")
    with pytest.raises(SinkDownError, match="none of ours; move it away"):
        list(sink.send([message(1)]))
    (tmp_path / "2026-11-30-early.running.jsonl").unlink()
    (tmp_path / "2026-11-30-early.parquet").write_text("hello")
    list(sink.send([message(1)]))
    long_ago(tmp_path / "2026-11-30-early.running.jsonl")
    with pytest.raises(SinkDownError, match="move it away"):
        sink.beat()
    assert (tmp_path / "2026-11-30-early.parquet").read_text() == "hello"


def test_without_pyarrow_csv_is_written_and_parquet_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    for kind in ("csv", "parquet"):
        line = LineSettings({"sinks": {"log": {"kind": "table", "folder": "x", "format": kind}}}, "")
        if kind == "csv":
            assert len(opening.open_deliveries(line, Ledger(tmp_path / kind), States())) == 1
            continue
        with pytest.raises(InputError, match=r"sinks\.log: parquet needs pyarrow; pip install"):
            opening.open_deliveries(line, Ledger(tmp_path / kind), States())
