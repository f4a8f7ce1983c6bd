from __future__ import annotations

import sys
from pathlib import Path

import pytest

from anomalyvfm.data import freed_memory, parallel
from anomalyvfm.data.freed_memory import give_back


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / 1e6


@pytest.mark.skipif(sys.platform != "linux" or freed_memory._malloc_trim() is None, reason="not glibc")
def test_what_is_free_between_what_stays_goes_back() -> None:
    freed = [(bytes(100_000), bytes(1000)) for _ in range(500)]
    kept = [small for _, small in freed]
    freed.clear()
    before = resident_mb()
    give_back(seconds_between=3600)
    assert resident_mb() > before - 10  # too soon
    give_back()
    assert resident_mb() < before - 30
    assert len(kept) == 500


def test_it_is_given_back_while_many_images_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr(parallel, "give_back", asked.append)
    list(parallel.read_many(range(20), lambda number: number))
    assert len(asked) == 20 and min(asked) > 0
