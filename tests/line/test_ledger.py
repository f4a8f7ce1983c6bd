"""The ledger: what was judged and who was told survive whatever happens to the process."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.errors import InputError
from anomalyvfm.line.ledger import FileState, Ledger
from tests.line.parts import fill, part


def test_a_file_is_judged_until_it_is_another(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    one = part(ledger)
    assert not ledger.is_judged(one.path, one.state)
    ledger.add(one)
    ledger.close()
    ledger = Ledger(tmp_path / "l")
    assert ledger.is_judged(one.path, one.state)
    assert not ledger.is_judged(one.path, FileState(11, 1))
    assert not ledger.is_judged(Path("b.png"), one.state)
    assert ledger.is_to_move(one.path, one.state)
    ledger.mark_filed(1)
    assert not ledger.is_to_move(one.path, one.state)


def test_a_touched_file_is_the_same_and_remembered_as_touched(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    one = part(ledger)
    ledger.add(one)
    assert one.sha256 is not None
    touched = FileState(10, 99)
    assert not ledger.is_same(one.path, "other", touched)
    assert not ledger.is_same(Path("b.png"), one.sha256, touched)
    assert ledger.is_same(one.path, one.sha256, touched)
    assert ledger.is_judged(one.path, touched)


def test_a_part_that_cannot_enter_leaves_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    one = part(ledger)
    ledger.add(one)
    with pytest.raises(sqlite3.IntegrityError):
        ledger.add(dataclasses.replace(one, number=2, path=Path("b.png")))  # the same id
    assert ledger.next_number == 2
    assert not ledger.is_judged(Path("b.png"), one.state)


def test_numbers_have_no_gap_across_restarts(tmp_path: Path) -> None:
    for expected in (1, 4, 7):
        ledger = Ledger(tmp_path / "l")
        assert ledger.next_number == expected
        fill(ledger, 3)
        ledger.close()


def test_a_name_that_is_no_text_is_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    name = b"\xff\xfe.png".decode(errors="surrogateescape")
    one = part(ledger, name)
    ledger.add(dataclasses.replace(one, stored=Path(name), message="{}"))
    assert ledger.is_judged(Path(name), one.state)
    assert [left.path for left in ledger.unfiled(5)] == [Path(name)]
    assert ledger.is_stored(Path(name))


def test_a_new_sink_hears_of_what_comes_and_an_old_one_of_what_it_missed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    ledger.subscribe("old")
    fill(ledger, 2)
    ledger.subscribe("new")
    fill(ledger, 1)
    ledger.close()
    ledger = Ledger(tmp_path / "l")
    ledger.subscribe("old")
    assert [message.number for message in ledger.untold("old", 9)] == [1, 2, 3]
    assert [message.number for message in ledger.untold("new", 9)] == [3]
    assert ledger.untold("old", 1)[0].arrived is None  # of a process before this one


@given(st.lists(st.sampled_from(["taken", "put off", "for good"]), max_size=12))
def test_what_waits_is_what_was_not_taken(
    tmp_path_factory: pytest.TempPathFactory, answers: list[str]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "l")
    ledger.subscribe("s")
    fill(ledger, 12)
    for number, answer in enumerate(answers, start=1):
        if answer == "taken":
            ledger.told("s", number)
        else:
            ledger.refused("s", number, "no", final=answer == "for good")
    off = [number for number, answer in enumerate(answers, start=1) if answer == "put off"]
    assert ledger.put_off("s") == off
    assert ledger.waiting("s") == (12 - len(answers) + len(off), answers.count("for good"))
    assert [message.number for message in ledger.untold("s", 99)] == list(range(len(answers) + 1, 13))
    for number in off:
        ledger.told("s", number)
    assert ledger.put_off("s") == []
    assert [message.number for message in ledger.untold("s", 99)] == list(range(len(answers) + 1, 13))
    ledger.close()


def test_what_is_no_ledger_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match="no ledger"):
        Ledger(tmp_path / "l")
    database = sqlite3.connect(tmp_path / "later")
    database.execute("CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT)")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(InputError, match="later release"):
        Ledger(tmp_path / "later")


def test_a_full_disk_is_an_error_of_the_system_and_nothing_is_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l")
    ledger._database.execute("PRAGMA max_page_count = 1")  # what a full disk does
    with pytest.raises(OSError, match="full"):
        for _ in range(300):
            fill(ledger, 1)
    before = ledger.next_number
    ledger._database.execute("PRAGMA max_page_count = 100000")
    fill(ledger, 1)
    assert ledger.next_number == before + 1
