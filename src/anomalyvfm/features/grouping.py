"""Which images are of one product: photographs of a part, or of a shift, are not independent."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anomalyvfm.features.grid import orthonormal

Labels = NDArray[np.int64]

# Images are compared at so many places a side, in at most so many directions of what features show there.
_PLACES = 4
_DIRECTIONS = 96
# Two images are of one product where they are closer, by squared distance, than half as far as each is from
# its tenth nearest: there are seldom ten photographs of one part, and independent images have no neighbours
# that are much nearer than others.
_NEIGHBOUR = 10
_NEARER = 0.5


def placed_features(patches: Tensor) -> Tensor:
    """(B, 16·D) means over 4 × 4 places of patch features (B, H, W, …, C): what images are compared by."""
    flat = patches.flatten(3)
    if flat.shape[3] > _DIRECTIONS:
        flat = flat @ orthonormal(flat.shape[3], _DIRECTIONS).to(flat)
    return F.adaptive_avg_pool2d(flat.permute(0, 3, 1, 2), _PLACES).flatten(1)


def group_named(name: str, rule: str) -> str | None:
    """What an image's name, a path, says of the group that it is of; None: nothing.

    By the rule ``alike`` names say nothing, by ``folder`` their folder, if they have one, is the group. Any
    other rule is a pattern of the file's name in which ``{}`` stands for the group and ``*`` for anything:
    ``{}_*`` takes what is before the first ``_``.
    """
    if rule == "alike":
        return None
    folder, _, file = name.rpartition("/")
    return (folder or None) if rule == "folder" else _matched(file, rule)


def _matched(file: str, pattern: str) -> str | None:
    # Each text is taken where it first follows the one before: names come from outside, and a search that
    # may go back takes as long as they make it.
    group, reached, wild = None, 0, ""
    *pieces, last = re.split(r"(\*|\{\})", pattern)
    for piece in pieces:
        if piece in ("*", "{}"):
            wild = piece
            continue
        found = file.find(piece, reached + (wild == "{}"))
        if found < 0 or (not wild and found):
            return None
        group = file[reached:found] if wild == "{}" else group
        reached = found + len(piece)
    end = len(file) - len(last)
    if not file.endswith(last) or end < reached + (wild == "{}"):
        return None
    return file[reached:end] if wild == "{}" else group


def groups_of(features: NDArray[np.float32], keys: Sequence[int], named: Sequence[str | None]) -> Labels:
    """(n,) numbers from 0 of the groups of n images, by features (n, E), keys and what their names say.

    A group is what is connected (single linkage): images with equal keys, images of one name, and, by their
    features, those that are near each other.
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
    holder: dict[str, int] = {}
    for image, name in zip(same.reshape(n).tolist(), named, strict=True):
        if name is not None:
            near[image, holder.setdefault(name, image)] = True
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
