"""Memory that was freed, given back to the system.

The C library keeps it for what is asked for next. Between batches' arrays, of many sizes, lies what stays: a
summary, a name. What is free comes in ever smaller pieces, arrays no longer fit in them, and a process that
needs no more than before grows by a quarter.
"""

from __future__ import annotations

import ctypes
import sys
import time
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


@cache
def _malloc_trim() -> Any:
    """glibc's function; None where the C library is another."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
