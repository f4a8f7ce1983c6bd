"""Counts of scores in fixed memory: exact while it fits, and evenly coarser after that.

The bit pattern of a float32, read as an integer, orders as the number does. A score is kept under that
integer key. While the distinct keys fit, every score is told apart from every other, so nothing computed
from the counts is approximate. When they no longer fit, the lowest bit of all keys is dropped (two
neighbours become one bin), again and again until they do. How many bits go depends only on which scores
were seen, never on their order or on how the stream was split: merged histograms equal one.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int32]
FloatArray = NDArray[np.float64]
_Number = TypeVar("_Number", np.int64, np.float64)

_MAGNITUDE = np.int32(0x7FFFFFFF)
_INFINITY = np.int32(0x7F800000)
_MINUS_INFINITY = ~_INFINITY


def keys_of(scores: NDArray[np.float32]) -> Keys:
    """Ordered integer keys of scores, in their shape."""
    keys = (scores + np.float32(0)).view(np.int32)  # the sum makes -0 equal 0
    if keys.size and keys.min() < 0:
        keys ^= (keys >> 31) & _MAGNITUDE  # the more negative a number, the larger its magnitude bits
    return keys


def all_finite(keys: Keys) -> bool:
    """Whether none of the scores with these keys is infinite or NaN."""
    return not keys.size or bool(keys.max() < _INFINITY and keys.min() > _MINUS_INFINITY)


def scores_of(keys: Keys) -> NDArray[np.float32]:
    """The scores whose keys these are; keys outside all numbers' stand for the infinities."""
    keys = np.clip(keys, _MINUS_INFINITY, _INFINITY)
    return (keys ^ ((keys >> 31) & _MAGNITUDE)).view(np.float32)


class Bins(NamedTuple):
    """Distinct keys (T,), rising and less their dropped bits, with what was seen at or below each.

    Attributes:
        counts: (T,) how many scores.
        weights: (T,) the sum of their weights, or None where they have none.
    """

    keys: Keys
    counts: NDArray[np.int64]
    weights: FloatArray | None


class ScoreHistogram:
    """How often each score occurred and, where `weighted`, the sum of the weights it came with.

    Memory: 4 bytes for each of `buffer` scores waiting to be sorted in (12 where weighted), 12 for each of
    at most `max_bins` bins (20 where weighted), and a few times as much for a moment while sorting in.
    """

    def __init__(self, *, weighted: bool = False, max_bins: int = 1 << 20, buffer: int = 1 << 23) -> None:
        self.weighted = weighted
        self.max_bins = max_bins
        self.buffer = buffer
        self.dropped_bits = 0
        self.total = 0
        self._bins = Bins(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0) if weighted else None)
        self._waiting = np.empty(0, np.int32)
        self._waiting_weights = np.empty(0)
        self._n_waiting = 0

    def add(self, keys: Keys, weights: FloatArray | None = None) -> None:
        """Count keys (N,), with weights (N,) where the histogram is weighted."""
        if not len(self._waiting):
            # Untouched pages of an empty array cost no memory: a small data set never fills them.
            self._waiting = np.empty(self.buffer, np.int32)
            self._waiting_weights = np.empty(self.buffer if self.weighted else 0)
        self.total += len(keys)
        start = 0
        while start < len(keys):
            taken = min(len(keys) - start, self.buffer - self._n_waiting)
            place = slice(self._n_waiting, self._n_waiting + taken)
            self._waiting[place] = keys[start : start + taken]
            if weights is not None:
                self._waiting_weights[place] = weights[start : start + taken]
            self._n_waiting += taken
            start += taken
            if self._n_waiting == self.buffer:
                self._sort_in()

    def merge(self, other: ScoreHistogram) -> None:
        """Add everything that `other` counted; `other` only sorts in what it has waiting."""
        other._sort_in()
        self._sort_in()
        self.total += other.total
        self._join(other._bins, other.dropped_bits)

    def bins(self) -> Bins:
        """All that was counted."""
        self._sort_in()
        return self._bins

    def coarsen(self, dropped_bits: int) -> None:
        """Drop the lowest bits of every key until at least this many are gone."""
        self._bins = _coarser(self._bins, dropped_bits - self.dropped_bits)
        self.dropped_bits = max(self.dropped_bits, dropped_bits)

    def _sort_in(self) -> None:
        keys = self._waiting[: self._n_waiting]
        self._n_waiting = 0
        if not len(keys):
            return
        weights = self._waiting_weights[: len(keys)] if self.weighted else None
        lowest, highest = int(keys.min()) >> self.dropped_bits, int(keys.max()) >> self.dropped_bits
        if highest - lowest < len(keys):
            # Scores this dense are quicker counted than sorted; the bins are the same.
            keys >>= self.dropped_bits
            keys -= np.int32(lowest)
            self._join(_counted(keys, weights, lowest), self.dropped_bits)
            return
        if weights is not None:
            order = np.argsort(keys)
            keys, weights = keys[order], np.cumsum(weights[order])
        else:
            keys.sort()
        bits = _bits_to_drop(keys, self.dropped_bits, self.max_bins)
        ends = _run_ends(keys, bits)
        self._join(Bins(keys[ends] >> bits, ends + 1, None if weights is None else weights[ends]), bits)

    def _join(self, new: Bins, dropped_bits: int) -> None:
        """Unite the bins with `new` ones, which have lost `dropped_bits`, and keep within `max_bins`."""
        bits = max(self.dropped_bits, dropped_bits)
        old, new = _coarser(self._bins, bits - self.dropped_bits), _coarser(new, bits - dropped_bits)
        keys = np.concatenate([old.keys, new.keys])
        order = np.argsort(keys, kind="stable")  # merges the two sorted runs
        both = Bins(
            keys[order],
            _united(old.counts, new.counts, order),
            None if old.weights is None or new.weights is None else _united(old.weights, new.weights, order),
        )
        more = _bits_to_drop(both.keys, 0, self.max_bins)
        ends = _run_ends(both.keys, more)
        self._bins, self.dropped_bits = _kept(both, ends, more), bits + more


def _counted(offsets: Keys, weights: FloatArray | None, lowest: int) -> Bins:
    """Bins of unsorted keys (N,), given by how far each is above the lowest."""
    counts = np.bincount(offsets)
    present = np.flatnonzero(counts)
    sums = None if weights is None else np.cumsum(np.bincount(offsets, weights)[present].astype(np.float64))
    return Bins((present + lowest).astype(np.int32), np.cumsum(counts[present]), sums)


def _united(first: NDArray[_Number], second: NDArray[_Number], order: NDArray[np.intp]) -> NDArray[_Number]:
    """Running sums of two lists, concatenated and put into `order`."""
    return np.cumsum(np.concatenate([np.diff(first, prepend=0), np.diff(second, prepend=0)])[order])


def _bits_to_drop(keys: Keys, at_least: int, max_bins: int) -> int:
    """The fewest low bits without which at most `max_bins` of the sorted keys (N,) are distinct."""
    changes = (keys[1:] ^ keys[:-1]).view(np.uint32)
    bits = at_least
    while np.count_nonzero(changes >= 1 << bits) >= max_bins:
        bits += 1
    return bits


def _run_ends(keys: Keys, bits: int) -> NDArray[np.int64]:
    """Where each run of keys that agree but for their low `bits` ends; keys (N,) are sorted."""
    last = np.ones(len(keys), bool)
    np.greater_equal((keys[1:] ^ keys[:-1]).view(np.uint32), 1 << bits, out=last[:-1])
    return np.flatnonzero(last)


def _kept(bins: Bins, which: NDArray[np.int64], bits: int) -> Bins:
    return Bins(
        bins.keys[which] >> bits, bins.counts[which], None if bins.weights is None else bins.weights[which]
    )


def _coarser(bins: Bins, bits: int) -> Bins:
    """The same counts with `bits` more bits of every key dropped."""
    return bins if bits <= 0 else _kept(bins, _run_ends(bins.keys, bits), bits)
