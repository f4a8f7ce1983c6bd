"""Dropout that can be repeated, however the batch is cut up."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
