"""The command as a process of its own: what it said has arrived when it is gone, with its exit status."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "anomalyvfm"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--help"], 0, "Learn good parts"),
        (["info", "no such model"], 2, "error: no such model"),
        (["info", "--unknown"], 2, "No such option"),
    ],
)
def test_all_is_said_before_it_ends(arguments: list[str], status: int, said: str, tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert said in done.stdout + done.stderr


def test_a_bug_still_shows_where_it_is() -> None:
    broken = "import anomalyvfm.cli as cli; cli.main.callback = lambda: 1 / 0; cli.run()"
    done = subprocess.run(
        [sys.executable, "-c", broken, "doctor"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_nobody_waits_for_what_is_loaded_to_be_taken_down() -> None:
    loaded = "import torch, time, anomalyvfm.cli as cli\n"
    ended = (
        loaded
        + "def stop():\n    print(time.time())\n    raise SystemExit(0)\ncli.main.callback = stop\ncli.run()"
    )
    seconds = []
    for _ in range(3):  # the machine may be busy with something else once
        done = subprocess.run(
            [sys.executable, "-c", ended, "doctor"], capture_output=True, text=True, check=True
        )
        seconds.append(time.time() - float(done.stdout.split()[0]))
    assert min(seconds) < 0.3
