"""Which images are of one product: photographs of a part, or of a shift, are not independent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Labels = NDArray[np.int64]

# Places a side at which images are compared.
_PLACES = 4
# Two images are of one product where they are closer, by squared distance, than half as far as each is from
# its tenth nearest: there are seldom ten photographs of one part, and independent images have no neighbours
# that are much nearer than others.
_NEIGHBOUR = 10
_NEARER = 0.5


def placed_features(patches: Tensor) -> Tensor:
    """(B, 16·C) means over 4 × 4 places of patch features (B, H, W, C): what images are compared by."""
    return F.adaptive_avg_pool2d(patches.permute(0, 3, 1, 2), _PLACES).flatten(1)


def groups_of(features: NDArray[np.float32], keys: Sequence[int]) -> Labels:
    """(n,) numbers from 0 of the groups of n images, by features (n, E); equal keys are one group.

    A group is what is connected by pairs that are near each other (single linkage).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(keys)
    _, same = np.unique(np.asarray(keys, np.int64), return_inverse=True)
    different = int(same.max()) + 1
    first = np.array([np.flatnonzero(same == number)[0] for number in range(different)])
    near = np.zeros((different, different), bool)
    if different > 2:
        distances = _distances(features[first])
        nth = np.sort(distances, axis=1)[:, min(_NEIGHBOUR, different // 3)]
        near = distances < _NEARER * np.minimum(nth[:, None], nth[None, :])
    _, labels = connected_components(coo_matrix(near), directed=False)
    found: Labels = labels.astype(np.int64)[same.reshape(n)]
    return found


def _distances(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """(m, m) squared distances of features (m, E) in units of their spread; infinite from one to itself."""
    vectors = torch.from_numpy(features).double()
    spread = vectors.std(0)
    vectors = (vectors - vectors.mean(0)) / torch.where(spread > 0, spread, 1.0)
    distances: NDArray[np.float64] = torch.cdist(vectors, vectors).square().numpy()
    np.fill_diagonal(distances, np.inf)
    return distances
