"""Reading ahead: files are decoded on all cores while the caller works on the ones before."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from anomalyvfm.data.freed_memory import give_back
from anomalyvfm.data.pixels import ImageError

T = TypeVar("T")
R = TypeVar("R")

_SECONDS_BETWEEN = 4.0
_most_cores: int | None = None


def read_many(
    sources: Iterable[T], read: Callable[[T], R], workers: int | None = None, ahead: int = 16
) -> Generator[tuple[T, R | ImageError], None, None]:
    """Yield (source, read(source)) in order, with `read` running in threads.

    At most `ahead` results (but no fewer than `workers`, by default one a core) are under way or waiting,
    and `sources` is drawn from only as far as that, so memory does not grow with the number of sources;
    what is freed meanwhile goes back to the system now and then.
    An ImageError comes back as the value, since one broken image must not stop the rest; any other
    exception is raised here, in its turn. Threads suffice: Pillow decodes without holding Python's lock.
    """
    workers = workers or cores()
    ahead = max(ahead, workers)
    remaining = iter(sources)
    under_way: deque[tuple[T, Future[R]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="read")
    try:
        while True:
            while len(under_way) < ahead:
                try:
                    source = next(remaining)
                except StopIteration:
                    break
                under_way.append((source, pool.submit(read, source)))
            if not under_way:
                return
            source, result = under_way.popleft()
            try:
                value: R | ImageError = result.result()
            except ImageError as error:
                value = error
            yield source, value
            give_back(_SECONDS_BETWEEN)
    finally:
        # Also reached when the caller stops early: reads not yet begun are dropped, not waited for.
        pool.shutdown(wait=True, cancel_futures=True)


def cores() -> int:
    """How many of the machine's cores this process may use."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return own if _most_cores is None else min(own, _most_cores)


def use_cores(count: int) -> None:
    """Let reading in this process use no more than so many cores: others are at work beside it."""
    global _most_cores
    _most_cores = count
