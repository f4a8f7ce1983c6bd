"""Threads of one core each: how many small pieces of work keep all cores busy.

Torch splits each operation over the cores, and they wait for one another at the end of it, spinning. Where
an operation is short (a layer of EfficientNet-Lite takes well under a millisecond, the Cholesky factor of a
patch's covariance hardly more) and anything else runs, such as decoding the next images, each wait can cost
a slice of the scheduler. Whole images, and groups of patches, need no waiting at all. Measured on two busy
cores, 16 images of 256 px: 20 to 30 ms an image, against 50 to 100 ms with torch's own threads.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


@functools.cache
def core_threads(count: int) -> ThreadPoolExecutor:
    """`count` threads in each of which torch uses one core. Other threads keep the setting they have."""
    before = torch.get_num_threads()
    all_started = threading.Barrier(count)

    def start(_: int) -> None:
        # The first question makes torch give this thread the common number; asked later, it would undo ours.
        torch.get_num_threads()
        torch.set_num_threads(1)  # for this thread, but also for MKL and for threads yet to come
        all_started.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix="core")
    for _ in pool.map(start, range(count)):
        pass
    torch.set_num_threads(before)  # gives those their cores back
    return pool


def over_cores(work: Callable[[T], R], parts: Sequence[T], device: torch.device) -> list[R]:
    """What ``work`` gives for each part, in their order, where on a CPU each core takes parts of its own."""
    cores = torch.get_num_threads()
    if device.type == "cpu" and cores > 1:
        return list(core_threads(cores).map(work, parts))
    return [work(part) for part in parts]


@contextmanager
def one_core() -> Iterator[None]:
    """Torch on one core in this scope: nothing is spread over others, nor handed to `core_threads`."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
