"""An image's own thresholds of regions: higher where all of it is odd, lower where much of it is.

In a light that no good image was taken in every patch is farther than usual, and what is defective is so
beside the others of the image. And a wide, faint defect has few patches that hardly any good patch equals,
but many that are odder than most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Shares of an image's patches. The last tells how far all of the image is, as a defect leaves that many as
# they are; the others, how far as many are.
_SHARES = np.append(np.geomspace(0.001, 0.25, 16), 0.75)
# What all but so many good images keep to is usual.
_UNUSUAL = 0.01
# Much of an image is odd where so many times as many patches are as in any usual good image: at least half of
# them are then defective.
_TIMES = 2.0
# Of the high threshold what an image's oddest place must reach beside its other patches; else a defect may
# fill the image.
_STANDS_OUT = 0.9
# Patches outside the region of interest have a distance of 0.
_LEAST = 1e-4


def levels_of(patch_distances: Array) -> Array:
    """(B, S) distances that no more than each of S shares of an image's patches (B, H, W) exceed."""
    return np.stack([_exceeded(image) for image in patch_distances])


def usual_levels(levels: Array) -> Array:
    """(S,) of good images' levels (n, S): those that hardly any of them lies above."""
    usual: Array = np.quantile(levels, 1 - _UNUSUAL, axis=0)
    return usual


def own_thresholds(
    anomaly_map: NDArray[np.float32], location: tuple[float, float], usual: Any, low: float, high: float
) -> tuple[float, float]:
    """Low and high threshold of a map (h, w) in standard deviations, which are by default the model's.

    ``location`` are mean and standard deviation of good patches' distances, ``usual`` (S,) what
    `usual_levels` gave. The low threshold is lowered to where twice as many patches are above it as in any
    usual good image: of those no more than half are good ones (Benjamini & Hochberg, 1995, "Controlling the
    False Discovery Rate", with what good images show in place of the tail of a distribution). Both rise in
    proportion where the nearest quarter of the patches is farther than that of any usual image, and something
    stands out all the same; where nothing does, they stay as they are.
    """
    center, spread = location
    distances = anomaly_map.astype(np.float64) * spread + center
    levels = np.asarray(usual, np.float64)
    counting = np.sort(distances[distances > _LEAST])
    if not len(counting) or levels[-1] <= _LEAST:
        return low, high
    whole = max(1.0, _exceeded(counting)[-1] / levels[-1])
    if whole > 1 and counting[-1] < _STANDS_OUT * whole * (high * spread + center):
        return low, high
    shares = 1 - np.searchsorted(counting, whole * levels[:-1], side="right") / len(counting)
    wide = levels[:-1][shares >= _TIMES * _SHARES[:-1]]
    lowest = min([low * spread + center, *wide])
    return (whole * lowest - center) / spread, (whole * (high * spread + center) - center) / spread


def _exceeded(distances: Array) -> Array:
    """(S,) of distances, of any shape."""
    counting = distances[distances > _LEAST]
    if not counting.size:
        return np.zeros(len(_SHARES))
    exceeded: Array = np.quantile(counting, 1 - _SHARES, method="inverted_cdf")
    return exceeded
