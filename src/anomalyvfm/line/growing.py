"""Files that grow by lines, which a process may be killed at, and a disk may become too full for."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_LAST_BYTES = 1 << 20


def append(place: Path, content: bytes) -> None:
    """All of it or nothing, and on the disk when this returns: what did not fit is taken back.

    Raises OSError.
    """
    with place.open("ab", buffering=0) as stream:
        end = stream.seek(0, 2)
        try:
            if stream.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
            os.fsync(stream.fileno())
        except OSError:
            stream.truncate(end)
            raise


def last_lines(place: Path) -> list[bytes]:
    """The whole lines of the file's last MiB, without their ends; none where there is no file.

    What follows the last of them, of a process that was killed, is cut off. Raises OSError.
    """
    try:
        with place.open("rb+") as stream:
            end = stream.seek(0, 2)
            start = max(0, end - _LAST_BYTES)
            stream.seek(start)
            tail = stream.read()
            whole = tail.rfind(b"\n") + 1
            stream.truncate(start + whole)
    except FileNotFoundError:
        return []
    lines = tail[:whole].splitlines()
    return lines[1:] if start else lines  # of the first there may be the end alone
