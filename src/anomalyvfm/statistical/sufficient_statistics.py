"""What the scorer learns: sums over images of patch features and of their outer products."""

from __future__ import annotations

import torch
from torch import Tensor

from anomalyvfm.errors import InputError


class Statistics:
    """Count, sum and sum of outer products of feature vectors at each of P cells, in float64.

    The three sums stream over batches, add up across machines (:meth:`merge`) and can be taken back
    (:meth:`add` with ``sign=-1``); memory is that of one P × D × D array whatever the number of images.

    Shapes: ``count`` is a number, the same for every cell; ``total`` (P, D); ``outer`` (P, D, D).
    """

    def __init__(self, cells: int, dimensions: int, device: str | torch.device = "cpu") -> None:
        self.count = 0
        self.total = torch.zeros(cells, dimensions, dtype=torch.float64, device=device)
        self.outer = torch.zeros(cells, dimensions, dimensions, dtype=torch.float64, device=device)

    @property
    def cells(self) -> int:
        return self.total.shape[0]

    @property
    def dimensions(self) -> int:
        return self.total.shape[1]

    def copy(self) -> Statistics:
        """The same sums, to be changed on their own."""
        copied = Statistics(0, 0)
        copied.count, copied.total, copied.outer = self.count, self.total.clone(), self.outer.clone()
        return copied

    def add(self, features: Tensor, sign: int = 1) -> None:
        """Add (or with ``sign=-1`` take back) the vectors of (P, N, D) features, N for each cell."""
        exact = features.to(self.total)
        self.count += sign * exact.shape[1]
        self.total.add_(exact.sum(1), alpha=sign)
        self.outer.baddbmm_(exact.transpose(1, 2), exact, alpha=sign)

    def add_scatter(self, deviations: Tensor, weight: float) -> None:
        """Add the outer products of (P, N, D) deviations from the means, ``weight`` times."""
        exact = deviations.to(self.total)
        self.outer.baddbmm_(exact.transpose(1, 2), exact, alpha=weight)

    def merge(self, other: Statistics, sign: int = 1) -> None:
        """Add (or take back) another's sums. Raises InputError where the shapes differ."""
        if self.total.shape != other.total.shape:
            raise InputError(
                f"models do not merge: {other.cells} cells of {other.dimensions} dimensions"
                f" against {self.cells} of {self.dimensions}; fit both with the same settings"
            )
        self.count += sign * other.count
        self.total.add_(other.total, alpha=sign)
        self.outer.add_(other.outer, alpha=sign)

    def to_tensors(self) -> dict[str, Tensor]:
        """The sums as stored: the symmetric outer products keep their lower triangle only."""
        rows, columns = torch.tril_indices(self.dimensions, self.dimensions).unbind()
        return {
            "count": torch.tensor(self.count, dtype=torch.int64),
            "total": self.total.cpu().contiguous(),
            "outer": self.outer[:, rows, columns].cpu().contiguous(),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], device: str | torch.device = "cpu") -> Statistics:
        """The inverse of :meth:`to_tensors`."""
        cells, dimensions = tensors["total"].shape
        self = cls(cells, dimensions, device)
        self.count = int(tensors["count"])
        self.total.copy_(tensors["total"])
        rows, columns = torch.tril_indices(dimensions, dimensions, device=self.outer.device).unbind()
        packed = tensors["outer"].to(self.outer)
        self.outer[:, rows, columns] = packed
        self.outer[:, columns, rows] = packed
        return self
