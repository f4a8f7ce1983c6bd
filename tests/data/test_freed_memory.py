from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from anomalyvfm.data import freed_memory, parallel
from anomalyvfm.data.freed_memory import all_there_is_stays

# In a process of its own: in one that has run other tests, the C library puts these where it has room.
FREE_AND_GIVE_BACK = """
from pathlib import Path
from anomalyvfm.data.freed_memory import all_there_is_stays, give_back

def resident_mb():
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / 1e6

freed = [(b"x" * 100_000, bytes(1000)) for _ in range(500)]
kept = [small for _, small in freed]
freed.clear()
print(resident_mb())
give_back(seconds_between=3600)
print(resident_mb())
give_back()
print(resident_mb())
"""


@pytest.mark.skipif(sys.platform != "linux" or freed_memory._malloc_trim() is None, reason="not glibc")
def test_what_is_free_between_what_stays_goes_back() -> None:
    command = [sys.executable, "-c", FREE_AND_GIVE_BACK]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    before, too_soon, after = map(float, told.split())
    assert too_soon > before - 10
    assert after < before - 30


def test_what_was_there_before_is_not_looked_at_again() -> None:
    before: list[list[int]] = [[]]
    assert gc.is_tracked(before)
    with all_there_is_stays():
        looked_at = gc.get_objects()
        assert not any(found is before for found in looked_at)
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_it_is_given_back_while_many_images_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr(parallel, "give_back", asked.append)
    list(parallel.read_many(range(20), lambda number: number))
    assert len(asked) == 20 and min(asked) > 0
