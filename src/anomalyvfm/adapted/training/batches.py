"""Which normal and which synthetic vectors make up each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pairs:
    """A step's batch: rows of the normal set and as many of the synthetic set, pair by pair."""

    normal: NDArray[np.int64]
    synthetic: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.normal)


def steps_per_epoch(normal: int, synthetic: int, batch: int) -> int:
    """Steps until every row of the larger set has been seen."""
    return math.ceil(max(normal, synthetic) / (batch // 2))


def epoch_batches(normal: int, synthetic: int, batch: int, seed: int, epoch: int) -> list[Pairs]:
    """The batches of an epoch, each of batch / 2 pairs, every row used before any is used again.

    They depend on nothing but the arguments, so a resumed run goes on with the same ones.
    """
    half = batch // 2
    length = half * steps_per_epoch(normal, synthetic, batch)
    rng = np.random.default_rng([seed, epoch])
    rows, synthetic_rows = (_in_turn(count, length, rng) for count in (normal, synthetic))
    return [
        Pairs(rows[start : start + half], synthetic_rows[start : start + half])
        for start in range(0, length, half)
    ]


def _in_turn(count: int, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`length` row numbers: permutations of all `count`, one after another, the last one cut off."""
    turns = [rng.permutation(count) for _ in range(math.ceil(length / count))]
    return np.concatenate(turns)[:length].astype(np.int64)
