"""The workers that this process has started on Ray, and the sudden death of one of them."""

from __future__ import annotations

import random
from contextlib import suppress

import psutil


def workers() -> list[psutil.Process]:
    """Those that are at work or wait for it."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "ray::_Actor" in " ".join(process.cmdline()):
                found.append(process)
    return found


def kill_one(rng: random.Random) -> bool:
    """Kill any of them; False where there is none."""
    if not (alive := workers()):
        return False
    with suppress(psutil.Error):
        rng.choice(alive).kill()
    return True
