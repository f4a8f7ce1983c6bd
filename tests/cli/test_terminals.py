"""Commands on terminals that lack characters, on outputs that take nothing, and with nothing to do."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.commands import refused, run

_COMMAND = [sys.executable, "-m", "anomalyvfm"]


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "latin-1", "ascii"])
def test_characters_a_terminal_lacks_are_replaced(
    encoding: str, fitted_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    image = tmp_path / "Teil-漢字-✓.png"
    image.write_bytes((drawn / "sheet_metal" / "train" / "good" / "000_regular.png").read_bytes())
    done = subprocess.run(
        [*_COMMAND, "predict", str(fitted_folder), str(image), "--out", str(tmp_path / "漢字")],
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"of 1 images anomalous" in done.stdout
    assert (tmp_path / "漢字" / "predictions.jsonl").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_an_output_that_takes_nothing_is_one_line(form: list[str], fitted_folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*_COMMAND, "info", str(fitted_folder), *form],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output cannot be written (No space left on device)")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_stop_no_run(closed: str, fitted_folder: Path, drawn: Path, tmp_path: Path) -> None:
    images = drawn / "sheet_metal" / "test_public" / "good"
    command = shlex.join(
        [*_COMMAND, "predict", str(fitted_folder), str(images), "--out", str(tmp_path / "out")]
    )
    done = subprocess.run(["bash", "-c", f"{command} {closed}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "predictions.jsonl").is_file()


def test_where_no_image_can_be_judged_the_first_says_why(fitted_folder: Path, tmp_path: Path) -> None:
    missing = [tmp_path / "one.png", tmp_path / "two.png"]
    said = refused("predict", fitted_folder, *missing, "--out", tmp_path / "out")
    assert f"none of the 2 images could be judged; the first: {missing[0]}: no such file" in said


def test_without_a_command_the_help_is_shown() -> None:
    shown = run()
    assert shown.exit_code == 0
    assert shown.stdout == run("--help").stdout


def test_a_file_of_several_images_is_noted_in_one_line(
    fitted_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    pages = [Image.open(path) for path in sorted((drawn / "sheet_metal" / "train" / "good").iterdir())[:3]]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    done = subprocess.run(
        [*_COMMAND, "predict", str(fitted_folder), str(tmp_path / "pages.tif"), "--out", str(tmp_path / "p")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.count("pages.tif: holds several images, of which the first is read") == 1
    assert done.stderr.startswith("note: ")
    assert done.stderr.count("\n") == 1
