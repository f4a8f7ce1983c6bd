"""What every scorer can do: learn good images' features as sums, and say how odd others are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.statistical.sufficient_statistics import Statistics

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Distances:
    """How far B images are from good ones, before calibration."""

    cells: Tensor
    """(B, H, W) distance of every cell of the feature grid; about 1 on good images."""
    opinions: Tensor
    """(B, K) > 0: the scorer's views of the image as a whole, which calibration joins into one score."""

    def numpy(self) -> tuple[Array, Array]:
        """Both as float64 on the CPU."""
        return self.cells.double().cpu().numpy(), self.opinions.double().cpu().numpy()


class Scorer(ABC):
    """Knows good images by sums over their features, on a ``device``.

    ``weights`` (K) are those of its opinions in the score. ``patches`` are the sums of patch features at
    each of its cells, which lie in ``rows`` rows over the image; the first ``given`` dimensions are not the
    cell's own.
    """

    device: torch.device
    weights: tuple[float, ...]
    patches: Statistics
    rows: int
    given: int

    @abstractmethod
    def learn(self, features: PatchFeatures, sign: int = 1) -> None:
        """Add features of good images to the sums, or with ``sign=-1`` take them back."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Add what another has learned. Raises InputError where the shapes differ."""

    @abstractmethod
    def distances(self, features: PatchFeatures) -> Distances:
        """How far images are from what has been learned."""

    @abstractmethod
    def derive(self) -> None:
        """Make from the sums what distances need, now, where it is not made yet."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What two scorers must have in common for their sums to add up, as plain data."""

    @abstractmethod
    def to_tensors(self) -> dict[str, Tensor]:
        """All that was learned, to be stored."""


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix and a dot, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
