"""Files that grow by lines: a line is there or it is not."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from anomalyvfm.line.growing import append, last_lines


def test_a_line_that_a_full_disk_cut_is_written_whole_later(tmp_path: Path) -> None:
    place = tmp_path / "lines"
    append(place, b"one\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6, limits[1]))
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(OSError):
            append(place, b"two\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    append(place, b"two\n")
    assert place.read_bytes() == b"one\ntwo\n"


def test_the_last_lines_are_whole_and_what_follows_them_is_cut_off(tmp_path: Path) -> None:
    place = tmp_path / "lines"
    assert last_lines(place) == []
    place.write_bytes(b"one\ntwo\nthr")
    assert last_lines(place) == [b"one", b"two"]
    assert place.read_bytes() == b"one\ntwo\n"
    place.write_bytes(b"x" * (1 << 20) + b"\ntwo\nthr")
    assert last_lines(place) == [b"two"]
    assert place.stat().st_size == (1 << 20) + 5
