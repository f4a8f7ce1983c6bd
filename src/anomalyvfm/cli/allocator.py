"""What is freed goes back to the system, or to whoever asks next."""

from __future__ import annotations

import ctypes
import os

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
# Arrays from here on are pages of their own. Smaller ones come and go too often for that: with 1 MB, a fit
# spends a fourth of its time on pages.
_PAGES_OF_ITS_OWN, _KEPT_FREE = 4 << 20, 32 << 20


def share_freed_memory() -> None:
    """Let glibc keep one store of freed memory for all threads, and little of it.

    By itself it learns from large arrays to keep what it gets, in each thread's own store: a fit then holds
    half as much again as it ever needs. Other allocators, and settings by ``MALLOC_`` variables, are left as
    they are.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return
    mallopt(_ARENA_MAX, 1)
    mallopt(_MMAP_THRESHOLD, _PAGES_OF_ITS_OWN)
    mallopt(_TRIM_THRESHOLD, _KEPT_FREE)
