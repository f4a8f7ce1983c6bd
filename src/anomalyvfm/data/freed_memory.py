"""Memory that was freed, given back to the system.

The C library keeps it for what is asked for next. Between batches' arrays, of many sizes, lies what stays: a
summary, a name. What is free comes in ever smaller pieces, arrays no longer fit in them, and a process that
needs no more than before grows by a quarter.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_last = time.monotonic()


def give_back(seconds_between: float = 0) -> None:
    """Give free pages back, unless that was done in the last seconds; nothing but in glibc needs it.

    It takes milliseconds, and as many again until what is needed anew has its pages.
    """
    global _last
    now = time.monotonic()
    trim = _malloc_trim()
    if trim is not None and now - _last >= seconds_between:
        _last = now
        trim(0)


@contextmanager
def all_there_is_stays() -> Iterator[None]:
    """Have Python look for cycles among what comes from now on alone; for a process that answers for long.

    Hundreds of thousands of objects of libraries stay until its end. To look at them all again, now and
    then, has everybody wait for a fifth of a second, and the part has gone by. Models that are replaced are
    freed all the same: nothing of them is in a cycle.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@cache
def _malloc_trim() -> Any:
    """glibc's function; None where the C library is another."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
