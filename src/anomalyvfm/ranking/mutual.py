"""Patches compared with those of other images of the same batch, none of which is known to be good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyvfm.features.core_threads import over_cores

SHARE = 0.3
"""What this share of the images shows is usual: others may be as unlike a patch as they like."""
DIMENSIONS = 64
"""At most so many directions, those in which the references vary most."""

# Added to each direction's variance, as a share of the mean one: those that hardly vary would else decide.
_FLOOR = 0.05
# Patches of references that a core compares with at once: their distances stay in its cache.
_AT_ONCE = 4096


@dataclass(frozen=True)
class MutualDistances:
    """Mutual scoring: Li et al. (2024), "MuSc: Zero-shot industrial anomaly classification and segmentation".

    A patch is as odd as its nearest patch is far in other images, on average over the `SHARE` of these in
    which one is nearest. A defect finds its like in few images, however many of them have some defect; what
    good parts show is in most.
    """

    keys: Tensor
    """(R,) those of the references: equal images have equal ones."""
    patches: Tensor
    """(D, R·P) whitened."""
    squares: Tensor
    """(R·P,) their squared lengths."""
    mean: Tensor
    directions: Tensor
    """(C, D) from features off their mean (C,) to whitened ones."""

    @classmethod
    def of(cls, references: Tensor, keys: Sequence[int]) -> MutualDistances:
        """From the patches (R, h, w, C) of reference images, of which three or more are different."""
        vectors = references.flatten(0, 2).double()
        mean = vectors.mean(0)
        centred = vectors - mean
        variances, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
        variances, axes = variances[-DIMENSIONS:], axes[:, -DIMENSIONS:]
        directions = axes * (variances + _FLOOR * variances.mean() + 1e-12).rsqrt()
        whitened = (centred @ directions).float()
        return cls(
            torch.tensor(keys, dtype=torch.int64),
            whitened.T.contiguous(),
            whitened.square().sum(1),
            mean.float(),
            directions.float(),
        )

    def maps(self, patches: Tensor, keys: Sequence[int]) -> Tensor:
        """(B, h, w) distances of images' patches (B, h, w, C).

        An image is not compared with itself, nor with its copies: with what has the same of the ``keys``.
        """
        whitened = ((patches - self.mean) @ self.directions).flatten(1, 2)
        found = [self._distances(one, self.keys != key) for one, key in zip(whitened, keys, strict=True)]
        return torch.stack(found).reshape(patches.shape[:3])

    def _distances(self, patches: Tensor, others: Tensor) -> Tensor:
        """(P,) of the patches (P, D) of one image; ``others`` (R,) marks the references that are not it."""
        each = len(self.squares) // len(others)
        images = max(1, _AT_ONCE // each)

        def compare(first: int) -> Tensor:
            part = slice(first * each, (first + images) * each)
            squared = torch.addmm(self.squares[part], patches, self.patches[:, part], alpha=-2)
            return squared.reshape(len(patches), -1, each).amin(2)

        parts = over_cores(compare, range(0, len(others), images), patches.device)
        nearest = torch.cat(parts, 1)[:, others.to(patches.device)] + patches.square().sum(1)[:, None]
        least = nearest.topk(math.ceil(SHARE * nearest.shape[1]), dim=1, largest=False).values
        return least.clamp_min(0).sqrt().mean(1)
