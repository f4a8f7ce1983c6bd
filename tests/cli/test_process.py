"""The command as a process of its own: what it said has arrived when it is gone, with its exit status."""

from __future__ import annotations

import json
import os
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


@pytest.mark.slow
def test_two_processes_of_accelerate_train_the_model_of_one(drawn: Path, tmp_path: Path) -> None:
    command = ["-m", "anomalyvfm", "fit", str(drawn / "sheet_metal"), "--preset", "v1.1", "--json"]
    command += ["--backbone", "efficientnet-lite0", "--image-size", "96", "--device", "cpu"]
    command += ["--set", "training.epochs=3", "--set", "synthesis.count=12"]
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    told = []
    for name, before in (("one", []), ("two", launch)):
        done = subprocess.run(
            [sys.executable, *before, *command, "--out", str(tmp_path / name)],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        told.append(json.loads(done.stdout))  # of two processes one speaks
    one, two = (body["adaptation"]["losses"] for body in told)
    assert two == pytest.approx(one, abs=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_a_preset_that_trains_nothing_is_no_work_for_accelerate(drawn: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "anomalyvfm", "fit", str(drawn / "sheet_metal"), "--out", str(tmp_path / "m")],
        capture_output=True,
        text=True,
        env=os.environ | {"WORLD_SIZE": "2", "RANK": "1"},
    )
    assert done.returncode == 2
    assert "v2 with these settings trains nothing; take --engine ray" in done.stderr
