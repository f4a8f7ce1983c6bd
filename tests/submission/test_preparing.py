"""Mistakes that `submit` says in one line, before anything is written."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import tifffile

from anomalyvfm.errors import InputError
from anomalyvfm.submission import data_targets
from tests.submission.commands import contents, refused, run


def test_a_disk_too_small_is_said_before_anything_is_written(
    fitted: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**5))
    line = refused(fitted, drawn, "--out", tmp_path / "out", "--device", "cpu")
    assert "maps, masks and archive need up to" in line
    assert "0.1 MB are free" in line
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_on_the_way_is_one_line(
    fitted: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **settings: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tifffile, "imwrite", full)
        line = refused(fitted, drawn, "--out", tmp_path / "out", "--device", "cpu")
    assert "No space left on device" in line
    assert "which continues" in line
    assert run(fitted, drawn, "--out", tmp_path / "out", "--device", "cpu").exit_code == 0


def test_mistakes_are_one_line(fitted: Path, drawn: Path, submitted: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    doubled, empty, strange = tmp_path / "doubled", tmp_path / "empty", tmp_path / "strange"
    shutil.copytree(fitted / "one", doubled / "a")
    shutil.copytree(fitted / "one", doubled / "b")
    empty.mkdir()
    strange.mkdir()
    (strange / "thesis.txt").write_text("")
    (tmp_path / "file").write_text("")
    public = tmp_path / "public" / "fabric"
    shutil.copytree(drawn / "fabric", public, ignore=shutil.ignore_patterns("test_private_mixed"))
    other = tmp_path / "other"
    shutil.copytree(submitted, other, ignore=shutil.ignore_patterns("*.tiff"))
    record = json.loads((other / "submission.json").read_text())
    record["models"]["fabric"] = "0" * 64
    (other / "submission.json").write_text(json.dumps(record))
    expected = [
        ((fitted / "one", drawn, *out), "no model of fabric (found sheet_metal)"),
        ((empty, drawn, *out), "no model of fabric, sheet_metal (found none)"),
        ((tmp_path / "nowhere", drawn, *out), "no such folder"),
        ((doubled, drawn, *out), "two models of sheet_metal"),
        ((fitted, tmp_path / "nowhere", *out), "no such folder"),
        ((fitted, public, *out), "no images in test_private_mixed/ of fabric"),
        ((fitted, drawn, *out, "--categories", "fabrik"), "did you mean fabric?"),
        ((fitted, drawn, "--out", strange), "exists already"),
        ((fitted, drawn, "--out", other), "by other models, or read otherwise, of fabric"),
        ((fitted, drawn, "--out", drawn, "--overwrite"), "choose another --out"),
        ((fitted, drawn, "--out", fitted.parent, "--overwrite"), "choose another --out"),
        ((fitted, drawn), "give MODELS, DATA and --out, or --check DIR"),
        ((), "give MODELS, DATA and --out, or --check DIR"),
        ((fitted, drawn, *out, "--check", submitted), "--check DIR goes with --data and --categories only"),
        ((fitted, drawn, *out, "--data", drawn), "--data goes with --check"),
        (("--check", tmp_path / "nowhere"), "no such folder"),
        (("--check", tmp_path / "file"), "neither a folder nor a .tar.gz"),
        (("--check", submitted, "--categories", "can,viall"), "did you mean vial?"),
    ]
    for arguments, message in expected:
        assert message in refused(*arguments)
    assert not (tmp_path / "out").exists()
    assert (strange / "thesis.txt").is_file()


def test_overwrite_begins_anew_over_another_submission_and_nothing_else(
    fitted: Path, drawn: Path, submitted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("")
    arguments = (fitted, drawn, "--out", out, "--overwrite", "--device", "cpu")
    result = run(*arguments)
    assert result.exit_code == 2
    assert "thesis.txt" in result.stderr
    assert (out / "thesis.txt").exists()
    shutil.rmtree(out)
    shutil.copytree(submitted, out)
    (out / "submission.tar.gz").write_bytes(b"")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert contents(out) == contents(submitted)


def test_two_images_that_would_share_a_map_are_refused(drawn: Path, tmp_path: Path) -> None:
    data = tmp_path / "fabric"
    shutil.copytree(drawn / "fabric", data)
    first = data / "test_private" / "000_regular.png"
    shutil.copy(first, first.with_suffix(".bmp"))
    with pytest.raises(InputError, match="would share a map with 000_regular"):
        data_targets(data)
