"""How many cores a step is spread over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from anomalyvfm.core_threads import one_core

# Up to this many vectors a step, a layer takes well under a millisecond on one core.
_FEW_VECTORS = 1024


@contextmanager
def cores_for(rows: Tensor, batch: int, device: torch.device) -> Iterator[None]:
    """One core while a step on a CPU is small, else torch's own number.

    Threads wait for one another at the end of every layer, spinning. Where another process wants a core,
    each such wait can cost a slice of the scheduler: measured on two busy cores, ten epochs of v1.1 on
    vectors took 35 s with two threads and 0.3 s with one.
    """
    vectors = batch * rows[0].numel() // rows.shape[-1]
    if device.type != "cpu" or vectors > _FEW_VECTORS:
        yield
        return
    with one_core():
        yield
