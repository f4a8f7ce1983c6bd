"""Random initial weights that depend on a seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Layers built in this scope, on the CPU, draw by `seed`; the caller's draws go on as before.

    torch's layers take no generator. `torch.manual_seed` would seed every GPU as well, for good.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
