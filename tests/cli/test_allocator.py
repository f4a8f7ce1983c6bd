from __future__ import annotations

import os
import subprocess
import sys

import pytest

_MANY_THREADS = """
import sys, threading
import numpy as np
if sys.argv[1] == "share":
    from anomalyvfm.cli.allocator import share_freed_memory
    share_freed_memory()

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

pins = []

def work():
    # A grown array teaches glibc to keep arrays of that size; a small one that stays keeps what lies below.
    np.ones(30 << 20, np.uint8)
    for _ in range(10):
        kept = [np.ones(12 << 20, np.uint8) for _ in range(6)]
        pins.append(np.ones(100_000, np.uint8))

before = resident()
for _ in range(4):
    thread = threading.Thread(target=work)
    together = [thread, threading.Thread(target=work)]
    for one in together: one.start()
    for one in together: one.join()
print((resident() - before) >> 20)
"""


def _megabytes_kept(how: str) -> int:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    ran = subprocess.run(
        [sys.executable, "-c", _MANY_THREADS, how],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return int(ran.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_threads_have_freed_is_not_kept_in_a_store_of_each() -> None:
    alone, shared = _megabytes_kept("alone"), _megabytes_kept("share")
    assert shared < alone / 2, f"{shared} MB kept, {alone} MB by glibc itself"
