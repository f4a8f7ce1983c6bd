"""What adapters and the head they are trained with are made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from anomalyvfm.errors import InputError


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Layers built in this scope, on the CPU, draw by `seed`; the caller's draws go on as before.

    torch's layers take no generator. `torch.manual_seed` would seed every GPU as well, for good.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


class SeededDropout(nn.Module):
    """Sets a share of elements to zero while training and scales the others up by 1 / (1 − share).

    Which ones depends on the seed given to :meth:`begin` and on an element's place in the whole batch, not
    on who computes it: several processes, or one that takes a batch in parts, drop the same elements as one
    process at once. The global random state is neither read nor changed.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self._generator: torch.Generator | None = None
        self._seed = 0
        self._rows: tuple[int, int, int] | None = None

    def begin(self, seed: int, start: int, stop: int, batch: int) -> None:
        """Announce that the next input holds rows ``start`` to ``stop`` of a batch of ``batch``."""
        self._seed = seed
        self._rows = start, stop, batch
        self._generator = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return x
        start, stop, batch = self._rows or (0, len(x), len(x))
        if self._generator is None:
            self._generator = torch.Generator(x.device).manual_seed(self._seed)
        kept = torch.empty((batch, *x.shape[1:]), dtype=torch.float32, device=x.device)
        kept.bernoulli_(1 - self.share, generator=self._generator)
        return x * kept[start:stop] / (1 - self.share)

    def extra_repr(self) -> str:
        return f"{self.share:g}"


def begin_batch(model: nn.Module, seed: int, start: int, stop: int, batch: int) -> None:
    """:meth:`SeededDropout.begin` for every dropout of a model, each with a seed of its own."""
    dropouts = [module for module in model.modules() if isinstance(module, SeededDropout)]
    for number, dropout in enumerate(dropouts):
        dropout.begin(seed * 1024 + number, start, stop, batch)


_SPREAD_OF_A = 0.01


class LowRank(nn.Module):
    """(alpha / rank) · dropout(x·A·B), with A (D, r) drawn from N(0, 0.01²) and B (r, D) zero.

    Hu et al. 2021, "LoRA", https://arxiv.org/abs/2106.09685, section 4.1. At first it adds nothing.
    """

    def __init__(self, width: int, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        check_rank(width, rank)
        self.a = nn.Parameter(_SPREAD_OF_A * torch.randn(width, rank))
        self.b = nn.Parameter(torch.zeros(rank, width))
        self.scale = alpha / rank
        self.dropout = SeededDropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        update: Tensor = self.scale * self.dropout(x @ self.a @ self.b)
        return update

    def extra_repr(self) -> str:
        width, rank = self.a.shape
        return f"{width}, rank={rank}, scale={self.scale:g}"


def check_rank(width: int, rank: int) -> None:
    """Raise InputError for a rank that is none in this many feature dimensions."""
    if not 1 <= rank <= width:
        raise InputError(
            f"LoRA rank {rank} with features of {width} dimensions: choose a rank from 1 to {width}"
        )
