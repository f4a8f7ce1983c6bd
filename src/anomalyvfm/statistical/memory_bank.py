"""Patches of good images themselves: an odd patch is far from the nearest of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from anomalyvfm.features.core_threads import over_cores
from anomalyvfm.features.grid import orthonormal

IMAGES = 1000
"""So many images are remembered."""
PATCHES = 48
"""So many patches of each, the most different ones."""
CENTERS = 2048
"""So many of all these patches are compared with, the most different ones."""
DIMENSIONS = 256
"""At most so many, by a random projection."""

# What knows no image has no key from here on: keys have 56 bits.
_NO_LIMIT = 1 << 56
# Patches compared at once by a core: their distances to all centers stay in its cache.
_COMPARED = 512
# Patches that learn of new centers at once: bounds the array of their distances.
_ROWS = 8192
# Numbers of which the smallest is found at once.
_GROUP = 32
# Of a distance: logarithms are taken of them.
_LEAST = 1e-6
# Of the vectors farthest from the centers there are, one in so many is looked at until so many are centers.
_POOL, _PASS = 16, 256


class MemoryBank:
    """The most different patches of each good image, by the image's key, and the centers made of them.

    What an image gives does not depend on other images, and it is there or not: learning, forgetting and
    merging are exact. Of more than `IMAGES` those with the lowest keys stay; keys are hashes of what the
    images show, so that these are a random sample whatever the order. An image above the ``limit``, the
    lowest key that ever had to go, is not taken in again.

    Each center is the patch farthest from those before it (Gonzalez 1985, "Clustering to minimize the maximum
    intercluster distance"), within an image and then of all: what is rare but good, a number printed on few
    parts, is a center as soon as one image shows it. A random sample of as many patches would miss it.
    """

    def __init__(
        self, channels: int, device: torch.device, tensors: Mapping[str, Tensor] | None = None
    ) -> None:
        self.limit = _NO_LIMIT
        self._zero = torch.zeros(1, min(channels, DIMENSIONS), device=device)
        self._projection = orthonormal(channels, DIMENSIONS).to(device) if channels > DIMENSIONS else None
        # By key: how often the image was learned, and (K, D) patches, float16, which are never written to.
        self._images: dict[int, tuple[int, Tensor]] = {}
        self._left_out: frozenset[int] = frozenset()
        if tensors is not None:
            self.limit = int(tensors["limit"])
            parts = tensors["patches"].to(device)
            for key, times, patches in zip(
                tensors["keys"].tolist(), tensors["times"].tolist(), parts, strict=True
            ):
                self._images[key] = (times, patches)

    def remember(self, patches: Tensor, keys: Sequence[int], sign: int = 1) -> None:
        """Take in images with (B, H, W, C) patches, or with ``sign=-1`` let them go."""
        new = {key: row for row, key in enumerate(keys) if sign > 0 and key not in self._images}
        new = {key: row for key, row in new.items() if key < self.limit}
        if new:
            vectors = self._vectors(patches[list(new.values())].flatten(1, 2))
            picked = farthest_of_each(vectors - vectors.mean(1, keepdim=True), PATCHES)
            for key, own, numbers in zip(new, vectors, torch.from_numpy(picked), strict=True):
                self._images[key] = (0, own[numbers].half())
        for key in keys:
            if key in self._images:
                times, own = self._images[key]
                self._images[key] = (times + sign, own)
        self._images = {key: one for key, one in self._images.items() if one[0] > 0}
        self._keep_lowest()

    def merge(self, other: Self) -> None:
        """Take in what another remembers."""
        for key, (times, patches) in other._images.items():
            mine = self._images.get(key, (0, patches))
            self._images[key] = (mine[0] + times, mine[1])
        self.limit = min(self.limit, other.limit)
        self._keep_lowest()

    def leave_out(self, keys: Iterable[int]) -> None:
        """Judge as if these images had not been learned, and all others had."""
        self._left_out = frozenset(keys)
        self._outdated()

    def distances(self, patches: Tensor) -> Tensor:
        """(B, H, W) distances of (B, H, W, C) patches to the nearest center; 1 is usual between centers."""
        vectors = self._vectors(patches.flatten(0, 2))
        centers, products, middle, unit = self._centers

        def compare(part: Tensor) -> Tensor:
            off = part - middle
            nearest = centers[smallest(F.pad(off, (0, 1), value=1.0) @ products)]
            return (off - nearest).square().sum(1)  # exact where the two are almost the same

        # An exported graph takes any number of images: it has no number of parts to be written down.
        parts = [vectors] if torch.compiler.is_compiling() else torch.split(vectors, _COMPARED)
        squared = torch.cat(over_cores(compare, parts, vectors.device))
        return (squared.sqrt() / unit).clamp_min(_LEAST).reshape(patches.shape[:3])

    def derive(self) -> None:
        _ = self._centers

    def to_tensors(self) -> dict[str, Tensor]:
        keys = sorted(self._images)
        patches = [self._images[key][1] for key in keys]
        return {
            "limit": torch.tensor(self.limit, dtype=torch.int64),
            "keys": torch.tensor(keys, dtype=torch.int64),
            "times": torch.tensor([self._images[key][0] for key in keys], dtype=torch.int64),
            "patches": torch.stack(patches).cpu() if patches else torch.zeros(0, 0, 0, dtype=torch.float16),
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Patches and centers are never written to: a copy shares them.
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        copied._images = dict(self._images)
        return copied

    def _vectors(self, patches: Tensor) -> Tensor:
        """(..., D) of (..., C)."""
        return patches if self._projection is None else patches @ self._projection

    def _outdated(self) -> None:
        """Forget the centers: what they follow from has changed."""
        self.__dict__.pop("_centers", None)

    def _keep_lowest(self) -> None:
        self._outdated()
        keys = sorted(key for key in self._images if key < self.limit)
        if len(keys) > IMAGES:
            self.limit = keys[IMAGES]
        self._images = {key: self._images[key] for key in keys[:IMAGES]}

    @cached_property
    def _centers(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Centers (M, D) off their middle, and (D + 1, M) what a vector off it and a 1 are multiplied by for

        their squared distances without its own square; the middle (D,), and what is between two.
        """
        keys = [key for key in self._images if key not in self._left_out]
        # None is left where those with the lowest keys were forgotten, and others were not taken in.
        vectors = torch.cat([self._images[key][1] for key in keys] or [self._zero]).float()
        middle = vectors.mean(0)
        vectors -= middle
        if len(vectors) > CENTERS:
            vectors = vectors[farthest_first(vectors, CENTERS)]
        squares = vectors.square().sum(1)
        others = torch.addmm(squares, vectors, vectors.T, alpha=-2).fill_diagonal_(torch.inf).argmin(1)
        between = (vectors - vectors[others]).square().sum(1).mean().sqrt()
        products = torch.cat([-2 * vectors.T, squares[None]]).contiguous()
        return vectors, products, middle, between.clamp_min(_LEAST)


def smallest(values: Tensor) -> Tensor:
    """(N,) where the smallest of each row of (N, M) stands; torch's own argmin takes four times as long."""
    if values.shape[1] % _GROUP:
        return values.argmin(1)
    groups = values.reshape(values.shape[0], -1, _GROUP)
    group = groups.amin(2).argmin(1)
    inside = groups.gather(1, group[:, None, None].expand(-1, 1, _GROUP))[:, 0]
    return group * _GROUP + inside.argmin(1)


def farthest_of_each(sets: Tensor, count: int) -> NDArray[np.int64]:
    """(B, K) for each of the sets (B, N, D) of vectors what `farthest_first` gives.

    For few of few vectors: each step compares all of all sets with the newest.
    """
    # Steps on little: NumPy takes half the time.
    points = sets.cpu().numpy()
    lengths = np.square(points).sum(2)
    rows = np.arange(len(points))
    nearest = np.full_like(lengths, np.inf)
    newest = lengths.argmax(1)
    chosen = [newest]
    while len(chosen) < min(count, points.shape[1]):
        products = (points @ points[rows, newest, :, None])[:, :, 0]
        np.minimum(nearest, lengths + lengths[rows, newest, None] - 2 * products, out=nearest)
        nearest[rows, newest] = -np.inf
        newest = nearest.argmax(1)
        chosen.append(newest)
    return np.stack(chosen, 1)


def farthest_first(vectors: Tensor, count: int) -> list[int]:
    """Numbers of ``count`` of the vectors (N, D), or of all, each the farthest from those before it.

    The first is the farthest from the origin. The next center is the vector farthest from all centers, so
    as long as some vector of a pool is farther than any outside it, centers come from the pool alone; all
    vectors then learn of them at once.
    """
    squares = vectors.square().sum(1)
    chosen = [int(squares.argmax())]
    nearest = torch.full_like(squares, torch.inf)
    fresh = chosen
    while len(chosen) < min(count, len(vectors)):
        for start in range(0, len(vectors), _ROWS):
            part = slice(start, start + _ROWS)
            distances = torch.addmm(squares[fresh], vectors[part], vectors[fresh].T, alpha=-2)
            nearest[part] = torch.minimum(nearest[part], distances.amin(1) + squares[part])
        nearest[chosen] = -torch.inf
        found, of_pool = nearest.topk(max(1, len(nearest) // _POOL))
        # A few steps for each center, on little: NumPy takes half the time.
        values, pool = found.cpu().numpy(), of_pool.tolist()
        points, lengths = vectors[of_pool].cpu().numpy(), squares[of_pool].cpu().numpy()
        outside = values[-1]
        fresh = []
        while len(chosen) < count and len(fresh) < _PASS:
            best = int(values.argmax())
            if values[best] < outside or values[best] == -np.inf:
                break
            fresh.append(pool[best])
            chosen.append(fresh[-1])
            np.minimum(values, lengths + lengths[best] - 2 * (points @ points[best]), out=values)
            values[best] = -np.inf
    return chosen
