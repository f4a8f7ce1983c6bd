"""A folder as the line fills it: files are given once, when they are whole."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomalyvfm.line.folder import FileFound, WatchedFolder, asking_for_leases, state_of
from anomalyvfm.line.ledger import FileState


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, to be set."""
    now = [1000.0]
    monkeypatch.setattr("anomalyvfm.line.folder.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def leases() -> Iterator[None]:
    with asking_for_leases():
        yield


def watched(folder: Path, **settings: object) -> WatchedFolder:
    return WatchedFolder(folder, lambda path, state: False, **settings)  # type: ignore[arg-type]


def names(found: list[FileFound]) -> list[str]:
    return [file.path.as_posix() for file in found]


def test_a_file_is_given_once_when_it_has_not_changed_for_a_while(
    tmp_path: Path, moment: list[float]
) -> None:
    folder = watched(tmp_path, settle=0.5)
    (tmp_path / "a.png").write_bytes(b"half")
    assert folder.look() == []
    moment[0] += 0.4
    (tmp_path / "a.png").write_bytes(b"half and more")
    assert folder.look() == []
    moment[0] += 0.4
    assert folder.look() == []
    assert folder.growing == 1
    moment[0] += 0.1
    assert names(folder.look()) == ["a.png"]
    moment[0] += 10
    assert folder.look() == []
    assert folder.growing == 0


def test_an_overwritten_file_is_given_again(tmp_path: Path, moment: list[float]) -> None:
    folder = watched(tmp_path, settle=0)
    (tmp_path / "a.png").write_bytes(b"one")
    assert names(folder.look()) == ["a.png"]
    (tmp_path / "a.png").write_bytes(b"the next part")
    assert names(folder.look()) == ["a.png"]
    assert folder.look() == []


@pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")
def test_what_nobody_writes_any_more_is_given_at_once(
    tmp_path: Path, moment: list[float], leases: None
) -> None:
    folder = watched(tmp_path, settle=60)
    with (tmp_path / "a.png").open("wb") as stream:
        stream.write(b"half")
        stream.flush()
        assert folder.look() == []
        stream.write(b", whole")
    assert names(folder.look()) == ["a.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")
def test_no_lease_is_asked_for_where_its_signal_would_end_the_process(
    tmp_path: Path, moment: list[float]
) -> None:
    assert signal.getsignal(signal.SIGIO) is not signal.SIG_IGN
    folder = watched(tmp_path, settle=0.5)
    (tmp_path / "a.png").write_bytes(b"whole")
    assert folder.look() == []


def test_a_broken_file_is_given_again_when_it_has_changed_or_after_patience(
    tmp_path: Path, moment: list[float]
) -> None:
    folder = watched(tmp_path, settle=0, patience=5)
    (tmp_path / "a.png").write_bytes(b"half")
    (first,) = folder.look()
    assert not first.settled
    folder.again(first)
    assert folder.growing == 1
    moment[0] += 4
    assert folder.look() == []
    moment[0] += 1
    (last,) = folder.look()
    assert last.settled
    (tmp_path / "b.png").write_bytes(b"half")
    (other,) = folder.look()
    folder.again(other)
    assert folder.look() == []
    (tmp_path / "b.png").write_bytes(b"whole now")
    assert names(folder.look()) == ["b.png"]


def test_an_empty_file_is_given_at_last(tmp_path: Path, moment: list[float]) -> None:
    folder = watched(tmp_path, settle=0, patience=5)
    (tmp_path / "a.png").touch()
    assert folder.look() == []
    moment[0] += 5
    assert [file.settled for file in folder.look()] == [True]


def test_only_images_are_looked_at(tmp_path: Path, moment: list[float]) -> None:
    (tmp_path / "lot-1" / "tray").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / ".cache").mkdir()
    for name in ("notes.txt", ".hidden.png", "a.PNG", "lot-1/b.jpg", "lot-1/tray/c.tif"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("out/d.png", ".cache/e.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.PNG")
    (tmp_path / "round").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    folder = watched(tmp_path, settle=0, without=tmp_path / "out")
    assert sorted(names(folder.look())) == ["a.PNG", "lot-1/b.jpg", "lot-1/tray/c.tif"]


def test_what_was_judged_in_another_run_is_not_given(tmp_path: Path, moment: list[float]) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    judged: dict[Path, FileState | None] = {Path("a.png"): state_of(tmp_path / "a.png")}
    folder = WatchedFolder(tmp_path, lambda path, state: judged.get(path) == state, settle=0)
    assert names(folder.look()) == ["b.png"]
    assert folder.look() == []


def test_a_folder_that_vanishes_is_an_error_and_its_files_stay_known(
    tmp_path: Path, moment: list[float]
) -> None:
    place = tmp_path / "in"
    place.mkdir()
    (place / "a.png").write_bytes(b"x")
    folder = watched(place, settle=0)
    assert names(folder.look()) == ["a.png"]
    place.rename(tmp_path / "away")
    with pytest.raises(OSError):
        folder.look()
    (tmp_path / "away").rename(place)
    assert folder.look() == []


def test_a_name_is_free_again_when_its_file_is_gone(tmp_path: Path, moment: list[float]) -> None:
    folder = watched(tmp_path, settle=0)
    (tmp_path / "a.png").write_bytes(b"x")
    os.utime(tmp_path / "a.png", ns=(5, 5))
    assert names(folder.look()) == ["a.png"]
    (tmp_path / "a.png").unlink()
    assert folder.look() == []
    (tmp_path / "a.png").write_bytes(b"y")
    os.utime(tmp_path / "a.png", ns=(5, 5))
    assert names(folder.look()) == ["a.png"]


def test_all_files_left_lying_have_their_turn(tmp_path: Path, moment: list[float]) -> None:
    for number in range(1200):
        (tmp_path / f"{number:04d}.png").write_bytes(b"x")
    folder = watched(tmp_path, settle=0)
    assert len(folder.look()) == 1200
    (tmp_path / "1100.png").write_bytes(b"another")
    found = [names(folder.look()) for _ in range(4)]
    assert found.count(["1100.png"]) == 1
    assert sum(map(len, found)) == 1
