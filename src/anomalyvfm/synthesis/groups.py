"""Category groups: which categories v1.2 and v1.4 treat as textured, as easy, or as neither."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.synthesis.mixes import Group
from anomalyvfm.synthesis.patch import Image8

KNOWN: dict[str, Group] = {
    "fruit_jelly": "high-texture",
    "walnuts": "high-texture",
    "fabric": "high-performance",
    "vial": "high-performance",
    "can": "medium",
    "rice": "medium",
    "sheet_metal": "medium",
    "wallplugs": "medium",
}
"""The groups of MVTec AD 2's categories."""

# Set by hand on generated products, magnetic tiles and solar cells seen by EfficientNet-Lite0, where spreads
# run from 0.003 (cans) to 0.10 (magnetic tiles) and energies from 0.14 (solar cells) to 0.77 (foam).
_ALIKE_BELOW = 0.008
_TEXTURED_FROM = 0.35

_SIDE = 256
_FINE = 2.0


def group_of(category: str, images: Iterable[Image8], features: NDArray[np.float32]) -> Group:
    """The group of a category: by name for those of MVTec AD 2, else derived from good images.

    The rule: good images that look alike to the backbone (`spread` of their summaries (N, D) under 0.008)
    make a high-performance category, since small deviations stand out there; of the others, those with
    `texture_energy` of 0.35 or more are high-texture, and the rest medium.
    """
    if category in KNOWN:
        return KNOWN[category]
    if spread(features) < _ALIKE_BELOW:
        return "high-performance"
    energies = [texture_energy(image) for image in images]
    return "high-texture" if np.mean(energies) >= _TEXTURED_FROM else "medium"


def spread(features: NDArray[np.float32]) -> float:
    """Mean of 1 − cosine over all pairs of (N, D) features, N ≥ 2: 0 where all point the same way."""
    unit = features.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    count = len(unit)
    # Cosines of all pairs add up to the squared length of the sum, less each vector with itself.
    cosines = (np.square(unit.sum(axis=0)).sum() - count) / (count * (count - 1))
    return float(1 - cosines)


def texture_energy(image: Image8) -> float:
    """Share of an image's contrast that is fine grain, 0 to 1.

    The standard deviation of grey levels that a Gaussian blur (sigma 2 px, at 256×256 px) takes away, over
    that of all grey levels. (H, W, C) uint8, any lighting.
    """
    from scipy.ndimage import gaussian_filter

    grey = Image.fromarray(image.mean(axis=2).astype(np.float32))
    resized = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
    contrast = float(resized.std())
    if contrast == 0:
        return 0.0
    return min(1.0, float((resized - gaussian_filter(resized, _FINE)).std()) / contrast)
