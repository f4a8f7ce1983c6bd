"""Connected defect regions, as AU-PRO counts them: each weighs the same, whatever its area."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_EIGHT_NEIGHBOURS = np.ones((3, 3), int)


def region_weights(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], int]:
    """Weight of each defect pixel, and the number of 8-connected regions.

    Args:
        mask: (H, W), True on defects.

    Returns:
        weights (P,), one for each True pixel in row order: 1 / area of its region, so that a region's
        weights sum to 1; and the number of regions.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.empty(0), 0
    # Labelling costs far more than the rest and defects are small: label only the box around them.
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    labels, count = ndimage.label(box, structure=_EIGHT_NEIGHBOURS)
    region = labels[box]
    return 1.0 / np.bincount(region)[region], int(count)
