from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from anomalyvfm.metrics.pixel import region_weights


def test_regions_touching_at_a_corner_are_one() -> None:
    mask = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 0, 1], [0, 0, 0, 0, 1]], bool)
    weights, count = region_weights(mask)
    assert count == 2
    # In row order: (0,0) and (1,1) share an area of 2, column 4 one of 3.
    assert np.allclose(weights, [1 / 2, 1 / 3, 1 / 2, 1 / 3, 1 / 3])


def test_no_defect_is_no_region() -> None:
    weights, count = region_weights(np.zeros((3, 4), bool))
    assert (len(weights), count) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_weights_cover_the_mask_and_sum_to_the_regions(mask: np.ndarray) -> None:
    weights, count = region_weights(mask)
    assert len(weights) == mask.sum()
    assert np.isclose(weights.sum(), count)
    # Where the mask lies in a larger image does not matter.
    assert np.array_equal(region_weights(np.pad(mask, 3))[0], weights)
