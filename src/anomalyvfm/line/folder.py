"""A folder as the line fills it: which files have come, and which of them are whole.

The folder is looked through again and again, which works on every file system, network shares too. Names
alone are listed; a file's state is asked for where the name is new, and now and then of the others, in
turns, so that a look costs little however many files are left lying.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from anomalyvfm.data.reading import SUFFIXES
from anomalyvfm.line.ledger import FileState

_ENDINGS = tuple(SUFFIXES)
_IN_TURN = 500
"""Of the files judged before, so many are asked a look whether they are other files now."""

_DEEPEST = 8
"""Folders below one another that are looked into: a lot's, and what a camera's software makes below it."""


@dataclass(frozen=True)
class FileFound:
    """A file that has come and seems whole."""

    path: Path
    """Below the folder."""
    state: FileState
    seen: float
    """By the monotonic clock: when it was first there as it now is."""
    settled: bool
    """Whether it has not changed for so long that no more of it will come."""


@dataclass
class _Growing:
    state: FileState
    since: float
    broken: bool = False
    """It was read as it is, and is no whole image."""


@dataclass
class WatchedFolder:
    """What has come since the last look.

    A file is whole when no program has it open for writing, where the system can tell; else when neither size
    nor time of change have moved for ``settle`` seconds. One that turned out broken all the same, `again`, is
    given once more when it has changed, or when it has not for ``patience`` seconds.
    """

    folder: Path
    is_judged: Callable[[Path, FileState], bool]
    """Whether a file was judged as it is, in whatever run."""
    settle: float = 0.5
    patience: float = 5.0
    without: Path | None = None
    """A folder below that is not looked into: that of the results."""
    # By names, not paths: a path takes as long to make as all else that is done for a file seen before.
    _known: dict[str, FileState] = field(default_factory=dict, init=False)
    _growing: dict[str, _Growing] = field(default_factory=dict, init=False)
    _broken: deque[FileFound] = field(default_factory=deque, init=False)
    _turn: int = field(default=0, init=False)

    def look(self) -> list[FileFound]:
        """The files that are whole and were not given before, the oldest first.

        Raises OSError where the folder is not there; what was known of it is kept.
        """
        while self._broken:
            file = self._broken.popleft()
            self._known.pop(str(file.path), None)
            self._growing[str(file.path)] = _Growing(file.state, file.seen, broken=True)
        now = time.monotonic()
        names = list(self._names(self.folder, "", _DEEPEST))
        self._forget_gone(names)
        found = []
        for name in self._asked(names):
            path = self.folder / name
            state = state_of(path)
            if state is None or self._known.get(name) == state:
                continue
            growing = self._growing.get(name)
            if growing is None and self.is_judged(Path(name), state):
                self._known[name] = state
                continue
            if growing is None or growing.state != state:
                self._growing[name] = growing = _Growing(state, now)
            unchanged = now - growing.since
            settled = unchanged >= self.patience
            if settled or (state.size and not growing.broken and self._is_whole(path, unchanged)):
                found.append(FileFound(Path(name), state, growing.since, settled))
                self._known[name] = state
                del self._growing[name]
        return sorted(found, key=lambda file: (file.state.modified, file.path))

    def again(self, file: FileFound) -> None:
        """Tell of a file that was given, is not settled, and is no whole image."""
        self._broken.append(file)  # from whatever thread; the next look takes it in

    @property
    def growing(self) -> int:
        """Files that have come and are not whole yet."""
        return len(self._growing) + len(self._broken)

    def _is_whole(self, path: Path, unchanged: float) -> bool:
        if unchanged >= self.settle:
            return True
        return not _is_being_written(path)

    def _asked(self, names: list[str]) -> list[str]:
        """The new ones, and some of those known, other ones each time."""
        known = [name for name in names if name in self._known]
        start = self._turn % len(known) if known else 0
        turn = (known[start:] + known[:start])[:_IN_TURN]
        self._turn = start + len(turn)
        return [name for name in names if name not in self._known] + turn

    def _forget_gone(self, names: list[str]) -> None:
        there = set(names)
        for kept in (self._known, self._growing):
            for name in [name for name in kept if name not in there]:
                del kept[name]

    def _names(self, folder: Path, below: str, depth: int) -> Iterator[str]:
        """Image files by their names; no links, nothing hidden."""
        with os.scandir(folder) as entries:
            inner = []
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    inner.append(entry.name)
                elif _is_image(entry):
                    yield below + entry.name
        for name in inner if depth else ():
            if self.without is None or folder / name != self.without:
                try:
                    yield from self._names(folder / name, f"{below}{name}/", depth - 1)
                except OSError:  # a lot's folder that goes while it is looked into
                    continue


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(_ENDINGS) and entry.is_file(follow_symlinks=False)


def state_of(path: Path) -> FileState | None:
    """Of a file as it now is; None where it is gone."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return FileState(found.st_size, found.st_mtime_ns)


@contextmanager
def asking_for_leases() -> Iterator[None]:
    """Let this process find out at once when a file is whole. For the main thread; Linux alone can.

    A lease is held for a moment; who would write meanwhile waits, and we are sent a signal, which without
    this would end the process.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGIO, earlier)


def _is_being_written(path: Path) -> bool:
    """Whether a program has the file open for writing, or the system does not tell.

    Linux grants a lease for reading on a file that nobody writes, of one's own and on a local file system.
    """
    if sys.platform != "linux" or signal.getsignal(signal.SIGIO) is not signal.SIG_IGN:
        return True
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
