"""Result folders: whole or not at all, ours alone replaced, one run at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from anomalyvfm.errors import InputError
from anomalyvfm.files import check_new, mark, new_folder, reserved, share


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def everything(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(folder: Path, name: str = "result", overwrite: bool = False) -> None:
    with reserved(folder, overwrite), new_folder(folder, overwrite) as partial:
        (partial / "below").mkdir()
        (partial / "below" / name).write_text(name)


def test_a_failure_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "out") as partial:
        (partial / "half").write_text("written")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_overwriting_replaces_only_when_the_new_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with new_folder(out) as partial:
        (partial / "old").write_text("old")
    with pytest.raises(RuntimeError), new_folder(out, overwrite=True) as partial:
        (partial / "new").write_text("new")
        raise RuntimeError
    assert visible(out) == ["old"]
    with new_folder(out, overwrite=True) as partial:
        (partial / "new").write_text("new")
    assert visible(out) == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No space left on device"), new_folder(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_results_are_refused_a_place_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with new_folder(tmp_path / "full") as folder:
        (folder / "something").write_text("")
    (tmp_path / "empty").mkdir()
    check_new(tmp_path / "empty")
    check_new(tmp_path / "deep" / "new")
    check_new(tmp_path / "full", overwrite=True)
    if Path("/proc/self").is_dir():
        with pytest.raises(InputError, match="cannot be written"):
            check_new(Path("/proc/self/model"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file", "full"]
    for path, message in (("file", "is a file"), ("full", "exists already"), ("file/below", "is a file")):
        with pytest.raises(InputError, match=message):
            check_new(tmp_path / path)


def test_paths_through_dots_are_those_they_stand_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "kk", "old")
    monkeypatch.chdir(tmp_path / "kk")
    write(Path("../kk"), "new", overwrite=True)
    assert [p.name for p in (tmp_path / "kk" / "below").iterdir()] == ["new"]
    assert visible(Path()) == ["below"]  # and the folder we stand in is still the one at that path
    write(Path(), "newer", overwrite=True)
    assert [p.name for p in (tmp_path / "kk" / "below").iterdir()] == ["newer"]
    assert everything(tmp_path) == ["kk"]


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    write(tmp_path / "there", "old")
    (tmp_path / "link").symlink_to("there")
    write(tmp_path / "link", "new", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert [p.name for p in (tmp_path / "there" / "below").iterdir()] == ["new"]


@pytest.mark.parametrize("name", ["notes.txt", "below/notes.txt", "mine/", ".hidden"])
def test_what_is_not_ours_is_never_replaced(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "old")
    (out / name).mkdir() if name.endswith("/") else (out / name).write_text("mine")
    with pytest.raises(InputError, match=f"no command of anomalyvfm wrote .{name}"):
        write(out, "new", overwrite=True)
    assert (out / name).exists()
    assert (out / "below" / "old").read_text() == "old"
    unmarked = tmp_path / "unmarked"
    unmarked.mkdir()
    for number in range(5):
        (unmarked / f"{number}.txt").write_text("mine")
    with pytest.raises(InputError, match=r"wrote \(0.txt, 1.txt, 2.txt and 2 more\)"):
        write(unmarked, overwrite=True)
    assert len(visible(unmarked)) == 5


def test_what_others_put_there_meanwhile_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "old")
    with new_folder(out, overwrite=True) as partial:
        (partial / "new").write_text("new")
        (out / "notes.txt").write_text("mine")
    assert visible(out) == ["new", "notes.txt"]
    with pytest.raises(InputError, match="filled by others"), new_folder(tmp_path / "other") as partial:
        (partial / "new").write_text("new")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "notes.txt").write_text("mine")
    assert visible(tmp_path / "other") == ["notes.txt"]


def test_a_folder_still_growing_is_ours_below_the_names_it_grows_under(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    mark(out, growing=["maps"])
    (out / "maps").mkdir()
    (out / "maps" / "1.png").write_text("")
    check_new(out, overwrite=True)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"):
        check_new(out, overwrite=True)


def test_a_second_run_into_one_folder_is_refused_at_its_start(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from anomalyvfm.files import reserved\n"
        "with reserved(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "in\n"
        with pytest.raises(InputError, match="another run is writing there"), reserved(tmp_path / "out"):
            pass
        first.kill()  # a run that was killed holds nothing back
    (tmp_path / ".out.1234.partial").mkdir()
    write(tmp_path / "out")
    assert everything(tmp_path) == ["out"]


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_results_get_the_permissions_of_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with new_folder(tmp_path / "out") as partial:
            save_file({"x": torch.zeros(1)}, partial / "tensors")
            share(partial / "tensors")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o777 & ~umask
    assert (tmp_path / "out" / "tensors").stat().st_mode & 0o777 == 0o666 & ~umask
    assert visible(tmp_path / "out") == ["tensors"]


def test_a_folder_that_cannot_be_renamed_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "volume"
    write(out, "old")
    inode = out.stat().st_ino
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == out)
    write(out, "new", overwrite=True)
    assert out.stat().st_ino == inode
    assert [p.name for p in (out / "below").iterdir()] == ["new"]
    assert everything(out) == [".anomalyvfm.json", "below"]
