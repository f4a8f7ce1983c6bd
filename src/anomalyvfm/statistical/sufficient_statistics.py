"""What scorers learn: sums over images of feature vectors and of their outer products, and what follows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from anomalyvfm.errors import InputError
from anomalyvfm.features.core_threads import over_cores
from anomalyvfm.pipeline import Spread

G = TypeVar("G")

# The outer products, larger than any cache, go through memory once for so many vectors of a position.
_TOGETHER = 32
# So many positions at a time does a core write out in float64, and add.
_POSITIONS = 16


class SufficientStatistics:
    """Count, sum and sum of outer products of feature vectors at each of P positions, in float64.

    The three sums stream over batches, add up across machines (:meth:`merge`) and can be taken back
    (:meth:`add` with ``sign=-1``); memory is that of one P × D × D array whatever the number of images.

    Shapes: ``count`` is a number, the same for every position; ``total`` (P, D); ``outer`` (P, D, D). Beside
    them ``light`` (D, D): outer products of how vectors of some images change with the light, summed over
    these and averaged over positions.
    """

    def __init__(self, positions: int, dimensions: int, device: str | torch.device = "cpu") -> None:
        self.count = 0
        self.total = torch.zeros(positions, dimensions, dtype=torch.float64, device=device)
        self.outer = torch.zeros(positions, dimensions, dimensions, dtype=torch.float64, device=device)
        self.light = torch.zeros(dimensions, dimensions, dtype=torch.float64, device=device)

    @property
    def positions(self) -> int:
        return self.total.shape[0]

    @property
    def dimensions(self) -> int:
        return self.total.shape[1]

    def copy(self) -> SufficientStatistics:
        """The same sums, to be changed on their own."""
        copied = SufficientStatistics(0, 0)
        copied.count, copied.total, copied.outer = self.count, self.total.clone(), self.outer.clone()
        copied.light = self.light.clone()
        return copied

    def add(self, features: Tensor, sign: int = 1) -> None:
        """Add (or with ``sign=-1`` take back) the vectors of (P, N, D) features, N for each position."""
        self.count += sign * features.shape[1]
        at_once = _POSITIONS if self.total.device.type == "cpu" else self.positions

        def add_part(start: int) -> None:
            part = slice(start, start + at_once)
            exact = features[part].to(self.total)
            self.total[part].add_(exact.sum(1), alpha=sign)
            self.outer[part].baddbmm_(exact.transpose(1, 2), exact, alpha=sign)

        over_cores(add_part, range(0, self.positions, at_once), self.total.device)

    def add_light(self, changes: Tensor, sign: int = 1) -> None:
        """Add (or with ``sign=-1`` take back) how (P, N, D) vectors change with the light."""
        exact = changes.to(self.total).flatten(0, 1)
        self.light.addmm_(exact.T, exact, alpha=sign / len(changes))

    def merge(self, other: SufficientStatistics, sign: int = 1) -> None:
        """Add (or take back) another's sums. Raises InputError where the shapes differ."""
        if self.total.shape != other.total.shape:
            raise InputError(
                f"models do not merge: {other.positions} positions of {other.dimensions} dimensions"
                f" against {self.positions} of {self.dimensions}; fit both with the same settings"
            )
        self.count += sign * other.count
        self.total.add_(other.total, alpha=sign)
        self.outer.add_(other.outer, alpha=sign)
        self.light.add_(other.light, alpha=sign)

    def pooled(self, rows: int, columns: int, factor: int) -> SufficientStatistics:
        """Those of ``factor`` × ``factor`` neighbours, of positions in so many rows and columns, together.

        A border that does not fill a position is repeated, as `PatchGrid.to_positions` repeats features.
        """
        if factor == 1:
            return self
        together = SufficientStatistics(0, 0)
        together.count = self.count * factor**2
        together.total = pooled_sums(self.total, rows, columns, factor)
        together.outer = pooled_sums(self.outer, rows, columns, factor)
        together.light = self.light * factor**2
        return together

    def to_tensors(self) -> dict[str, Tensor]:
        """The sums as stored: the symmetric outer products keep their lower triangle only."""
        rows, columns = torch.tril_indices(self.dimensions, self.dimensions).unbind()
        return {
            "count": torch.tensor(self.count, dtype=torch.int64),
            "total": self.total.cpu().contiguous(),
            "outer": self.outer[:, rows, columns].cpu().contiguous(),
            "light": self.light.cpu().contiguous(),
        }

    @classmethod
    def from_tensors(
        cls, tensors: dict[str, Tensor], device: str | torch.device = "cpu"
    ) -> SufficientStatistics:
        """The inverse of :meth:`to_tensors`."""
        positions, dimensions = tensors["total"].shape
        self = cls(positions, dimensions, device)
        self.count = int(tensors["count"])
        self.total.copy_(tensors["total"])
        if "light" in tensors:  # models of older schemas hold it within the outer products
            self.light.copy_(tensors["light"])
        rows, columns = torch.tril_indices(dimensions, dimensions, device=self.outer.device).unbind()
        packed = tensors["outer"].to(self.outer)
        self.outer[:, rows, columns] = packed
        self.outer[:, columns, rows] = packed
        return self

    def spread(self, rows: int, skipped: int = 0) -> Spread | None:
        """How the vectors vary at positions that lie in so many ``rows``; None where each holds a single one.

        The first ``skipped`` dimensions are not the positions' own.
        """
        if self.count < 2:
            return None
        total = self.total[:, skipped:].cpu().numpy()
        outer = self.outer[:, skipped:, skipped:].cpu().numpy()
        pooled = (outer.sum(0) - total.T @ total / self.count) / (self.positions * (self.count - 1))
        # The diagonals alone, not copied.
        variances = (np.einsum("pdd->pd", outer) - total**2 / self.count) / (self.count - 1)
        # Each channel in its own unit, so that no channel decides alone.
        relative = variances / np.maximum(pooled.diagonal(), np.finfo(float).tiny)
        return Spread(
            spectrum=np.maximum(np.linalg.eigvalsh(pooled)[::-1], 0.0),
            by_position=np.sqrt(np.maximum(relative.mean(1), 0.0)).reshape(rows, -1),
        )


def pooled_sums(sums: Tensor, rows: int, columns: int, factor: int) -> Tensor:
    """(P, ...) sums of positions, in so many rows and columns, to (P', ...) of ``factor`` × ``factor``."""
    y = (factor * torch.arange(-(-rows // factor), device=sums.device))[:, None]
    x = (factor * torch.arange(-(-columns // factor), device=sums.device))[None, :]
    parts = (
        sums[((y + below).clamp_max(rows - 1) * columns + (x + right).clamp_max(columns - 1)).flatten()]
        for below in range(factor)
        for right in range(factor)
    )
    together = next(parts)  # a copy, as indexing makes them
    for part in parts:
        together += part
    return together


class Fitted(Generic[G]):
    """Sums, and the Gaussian that follows from them.

    The Gaussian is derived when it is first asked for, and again after the sums have changed. A copy has sums
    of its own and shares the Gaussian, which nothing changes, until it learns. How it is derived is told by
    who asks, and not kept: a scorer kept here would be in a circle, and its sums not freed with it.
    """

    def __init__(self, statistics: SufficientStatistics) -> None:
        self._statistics = statistics
        self._derived: G | None = None
        # Vectors that are not in the sums yet, all to be added or all to be taken back.
        self._waiting: list[Tensor] = []
        self._sign = 1

    @property
    def statistics(self) -> SufficientStatistics:
        """The sums, of all that was learned."""
        if self._waiting:
            self._statistics.add(torch.cat(self._waiting, 1), self._sign)
            self._waiting = []
        return self._statistics

    def learn(self, vectors: Tensor, sign: int = 1) -> None:
        """As :meth:`SufficientStatistics.add`; vectors of a few batches go into the sums together."""
        if sign != self._sign:
            _ = self.statistics
        self._sign = sign
        self._waiting.append(vectors)
        if sum(batch.shape[1] for batch in self._waiting) >= _TOGETHER:
            _ = self.statistics
        self.outdated()

    def learn_light(self, changes: Tensor, sign: int = 1) -> None:
        """As :meth:`SufficientStatistics.add_light`."""
        self._statistics.add_light(changes, sign)
        self.outdated()

    def merge(self, other: Fitted[G]) -> None:
        """Add what another has learned. Raises InputError where the shapes differ."""
        self.statistics.merge(other.statistics)
        self.outdated()

    def derived(self, derive: Callable[[SufficientStatistics], G]) -> G:
        """The Gaussian; always asked for by the same ``derive`` until the sums are `outdated`."""
        if (known := self._derived) is None:
            self._derived = known = derive(self.statistics)
        return known

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        other = type(self)(copy.deepcopy(self.statistics, memo))
        other._derived = self._derived
        return other

    def outdated(self) -> None:
        """Forget the Gaussian: what it follows from has changed."""
        self._derived = None
