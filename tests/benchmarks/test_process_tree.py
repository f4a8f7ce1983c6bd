from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from performing.process_tree import measured, tree, tree_memory_mb

if not Path("/proc/self/smaps_rollup").exists():
    pytest.skip("whole process trees are measured on Linux only", allow_module_level=True)

# Holds so many million bytes, all of them touched, and says so.
_HOLD = "import sys, time; held = b'x' * int(float(sys.argv[1]) * 1e6); print('held', flush=True); "
_WITH_CHILD = (
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', sys.argv[2], sys.argv[1]],"
    " stdout=subprocess.PIPE); child.stdout.readline(); "
)


def test_time_and_memory_are_those_of_the_whole_run() -> None:
    run = measured([sys.executable, "-c", _HOLD + "time.sleep(0.4)", "60"])
    assert run.output == "held\n"
    assert 0.4 < run.wall_s < 20
    assert run.cpu_s < run.wall_s
    assert 60 < run.peak_mb < 150
    assert run.finished


def test_what_a_child_takes_counts_to_the_run() -> None:
    busy = "import time; until = time.process_time() + 0.5\nwhile time.process_time() < until: pass"
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    assert measured([sys.executable, "-c", parent, busy]).cpu_s > 0.5


def test_memory_of_a_child_is_added_to_its_parents() -> None:
    parent = _WITH_CHILD + "held = b'x' * int(80e6); print('held', flush=True); sys.stdin.readline()"
    child = _HOLD + "sys.stdin.readline()"
    process = subprocess.Popen(
        [sys.executable, "-c", parent, "90", child],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        assert len(tree(process.pid)) == 2
        assert 170 < tree_memory_mb(process.pid) < 260
    finally:
        process.communicate("\n")
    assert _soon(lambda: tree_memory_mb(process.pid) == 0)


def test_a_run_past_its_limit_is_ended_with_all_its_children() -> None:
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    run = measured([sys.executable, "-c", parent], limit_s=1.0)
    assert not run.finished
    assert 1.0 <= run.wall_s < 20


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(SystemExit, match="no such planet"):
        measured([sys.executable, "-c", "raise ValueError('no such planet')"])


def test_a_command_that_ends_well_but_complains_has_failed() -> None:
    quiet = [sys.executable, "-c", "import sys; print('Inference failed', file=sys.stderr)"]
    assert measured(quiet).finished
    with pytest.raises(SystemExit, match="Inference failed"):
        measured(quiet, complaint="Inference failed")


def _soon(true: Callable[[], bool]) -> bool:
    until = time.perf_counter() + 10
    while not true() and time.perf_counter() < until:
        time.sleep(0.01)
    return true()
