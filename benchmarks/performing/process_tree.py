"""A command as a whole process tree: seconds, CPU seconds and peak memory. For Linux, from /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_BETWEEN_SAMPLES_S = 0.05
_PROC = Path("/proc")


@dataclass(frozen=True)
class Run:
    """What a command took, all its processes together, and what it wrote to stdout and stderr."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    """Largest memory at any sample, in 10⁶ bytes."""
    output: str
    finished: bool
    """False where the time limit ended it."""


def measured(
    command: Sequence[str | Path],
    limit_s: float | None = None,
    complaint: str | None = None,
) -> Run:
    """Run a command to its end, or to the limit.

    CPU seconds are those of the command and of all descendants that were waited for.

    Raises:
        SystemExit: the command failed, or wrote the ``complaint`` to stderr; its last lines are shown.
    """
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complained:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=said,
            stderr=complained,
            start_new_session=True,
        )
        sampler = _Sampler(process.pid)
        cut_off = threading.Event()

        def end() -> None:
            cut_off.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(limit_s or threading.TIMEOUT_MAX, end)
        timer.daemon = True
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        timer.cancel()
        said.seek(0)
        complained.seek(0)
        output, complaints = said.read(), complained.read()
        failed = process.returncode or (complaint is not None and complaint in complaints)
        if failed and not cut_off.is_set():
            raise SystemExit(f"{' '.join(map(str, command))} failed:\n{complaints[-2000:]}")
        cpu_s = usage.ru_utime + usage.ru_stime
        # The kernel's own peak, ru_maxrss, would start with the memory of this process.
        return Run(wall_s, cpu_s, sampler.stop(), output, not cut_off.is_set())


class _Sampler(threading.Thread):
    """Looks at a tree's memory until stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._peak_mb = 0.0
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stopped.wait(_BETWEEN_SAMPLES_S):
            self._peak_mb = max(self._peak_mb, tree_memory_mb(self._pid))

    def stop(self) -> float:
        self._stopped.set()
        self.join()
        return self._peak_mb


def tree_memory_mb(pid: int) -> float:
    """Memory in 10⁶ bytes of a process and its descendants, pages that several share counted once.

    Of a process without children its largest resident memory so far, so that no peak falls between two
    samples; of several the sum of their proportional set sizes now, which takes the kernel some milliseconds
    each to add up.
    """
    pids = tree(pid)
    if len(pids) == 1:
        return _kilobytes(_PROC / str(pid) / "status", "VmHWM:") * 1024 / 1e6
    return sum(_kilobytes(_PROC / str(one) / "smaps_rollup", "Pss:") for one in pids) * 1024 / 1e6


def tree(pid: int) -> list[int]:
    """A process and its living descendants."""
    found = [pid]
    for parent in found:  # grows
        for task in _entries(_PROC / str(parent) / "task"):
            found += [int(child) for child in _text(task / "children").split()]
    return found


def _kilobytes(file: Path, name: str) -> int:
    for line in _text(file).splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0  # it has ended


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # it has ended
        return []


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # it has ended
        return ""
