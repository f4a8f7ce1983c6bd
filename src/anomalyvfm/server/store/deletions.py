"""Nothing is deleted while a backup copies what rows named a moment ago."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Deletions:
    """A lock between processes: the station that deletes, and the backup that copies from its folder."""

    def __init__(self, data: Path) -> None:
        self._path = data / "deletions.lock"
        self._one_at_a_time = threading.Lock()

    @contextmanager
    def allowed(self) -> Iterator[bool]:
        """Whether files may go now; no backup begins until the block ends. Others of this process wait."""
        with self._one_at_a_time, self._path.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextmanager
    def halted(self) -> Iterator[None]:
        """No file goes until the block ends. Waits for a deletion that is under way."""
        with self._path.open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield
