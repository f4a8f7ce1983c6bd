"""The subspace in which the patches of most images lie; what is odd lies off it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_KEPT_VARIANCE = 0.95
# The patches farthest off are left out, and the subspace is found again: what is odd must not widen it.
_TRIMMED, _ROUNDS = 0.1, 3


@dataclass(frozen=True)
class Subspace:
    """Principal components without the oddest tenth: SubspaceAD, and Rousseeuw (1984) for the trimming."""

    mean: Tensor
    axes: Tensor
    """(C, K)."""

    @classmethod
    def of(cls, references: Tensor) -> Subspace:
        """From the patches (R, h, w, C) of reference images."""
        vectors = references.flatten(0, 2)
        kept = vectors
        for _ in range(_ROUNDS):
            found = cls._spanned(kept)
            distances = found._distances(vectors)
            limit = distances.kthvalue(max(1, round((1 - _TRIMMED) * len(distances)))).values
            kept = vectors[distances <= limit]
        return found

    def maps(self, patches: Tensor) -> Tensor:
        """(B, h, w) distances of patches (B, h, w, C) from the subspace."""
        return self._distances(patches.flatten(0, 2)).reshape(patches.shape[:3])

    @classmethod
    def _spanned(cls, vectors: Tensor) -> Subspace:
        mean = vectors.mean(0)
        centred = (vectors - mean).double()
        variances, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
        variances, axes = variances.flip(0).clamp_min(0), axes.flip(1)
        share = variances.cumsum(0) / variances.sum().clamp_min(1e-12)
        count = int((share < _KEPT_VARIANCE).sum()) + 1
        return cls(mean, axes[:, :count].float())

    def _distances(self, vectors: Tensor) -> Tensor:
        off = vectors - self.mean
        rest: Tensor = off - (off @ self.axes) @ self.axes.T
        return rest.square().sum(1).sqrt()
