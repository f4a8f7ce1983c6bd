"""Files named by the SHA-256 of their content, written whole or not at all."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


class Files:
    """``folder/ab/ab12…``. A name is only ever formed from a hash, so no client's text becomes a path.

    Content goes to a temporary name, to the disk, and then to its own name. Rows that name a file are
    committed after it and deleted before it: a kill leaves at most a file without a row, which
    :meth:`sweep` puts into the trash. :meth:`keeping` guards files whose rows are still on the way.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._pinned: Counter[str] = Counter()
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ValueError("not a SHA-256")
        return self._folder / digest[:2] / digest

    def read(self, digest: str) -> bytes:
        return self.path(digest).read_bytes()

    @contextmanager
    def keeping(self) -> Iterator[Callable[[bytes], str]]:
        """Yields a function that stores content and gives its hash; commit the row within the block."""
        pinned: list[str] = []

        def keep(content: bytes) -> str:
            digest = hashlib.sha256(content).hexdigest()
            with self._lock:
                self._pinned[digest] += 1
            pinned.append(digest)
            self._write(self.path(digest), content)
            return digest

        try:
            yield keep
        finally:
            self._unpin(pinned)

    @contextmanager
    def holding(self, digest: str) -> Iterator[None]:
        """Keeps a file from being removed, whatever the rows say, until the block ends."""
        with self._lock:
            self._pinned[digest] += 1
        try:
            yield
        finally:
            self._unpin([digest])

    def remove(
        self,
        digests: Iterable[str],
        needed: Callable[[str], bool],
        discard: Callable[[Path], None] = Path.unlink,
    ) -> int:
        """Delete files that no row needs, or ``discard`` them elsewhere; their bytes."""
        bytes_ = 0
        for digest in digests:
            with self._lock:
                if self._pinned[digest] or needed(digest):
                    continue
                with suppress(FileNotFoundError):
                    path = self.path(digest)
                    bytes_ += path.stat().st_size
                    discard(path)
        return bytes_

    def sweep(
        self,
        named: Callable[[str], set[str]],
        needed: Callable[[str], bool],
        discard: Callable[[Path], None],
        older_than: float = 0,
    ) -> int:
        """Delete unfinished files that a kill left, and ``discard`` files without a row; bytes deleted.

        ``named`` gives all names in rows that begin with two digits, ``needed`` asks again for one, while
        no other can be kept; files younger than ``older_than`` seconds stay.
        """
        before = time.time() - older_than
        freed = 0
        for folder in sorted(self._folder.glob("[0-9a-f][0-9a-f]")):
            old = [path for path in folder.iterdir() if _changed(path) <= before]
            for partial in (path for path in old if path.suffix == ".partial"):
                with suppress(FileNotFoundError):
                    freed += partial.stat().st_size
                    partial.unlink()
            left = {path.name for path in old if len(path.name) == 64}
            if left:
                self.remove(left - named(folder.name), needed, discard)
        return freed

    def _unpin(self, digests: list[str]) -> None:
        with self._lock:
            self._pinned.subtract(digests)
            self._pinned += Counter()  # drops those at zero

    def _write(self, path: Path, content: bytes) -> None:
        if path.exists():
            return
        path.parent.mkdir(exist_ok=True)
        write_whole(path, content)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # finished, or removed, meanwhile
        return math.inf


def write_whole(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file that is there as a whole or not at all, and outlasts a power cut. Raises OSError.

    ``mode`` is that of a new file, less the umask.
    """
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
