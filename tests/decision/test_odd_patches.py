from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from anomalyvfm.decision.odd_patches import ODD_ARRAYS, OddPatches

_DEVIATIONS = arrays.arrays(
    np.float32, (2, 3, 5), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
)


def odd(deviations: np.ndarray) -> OddPatches:
    maps = np.arange(len(deviations) * 4, dtype=np.float32).reshape(-1, 2, 2)
    places = np.tile(np.arange(deviations.shape[1]), (len(deviations), 1))
    return OddPatches.of(maps, places, deviations)


@given(_DEVIATIONS, st.integers(0, 100))
def test_along_a_direction_patches_deviate_as_in_float64_but_for_half_steps(
    deviations: np.ndarray, seed: int
) -> None:
    direction = np.random.default_rng(seed).standard_normal(5).astype(np.float32)
    direction /= np.linalg.norm(direction)
    exact = deviations.astype(np.float64) @ direction.astype(np.float64)
    largest = np.abs(deviations).max(2)
    found = odd(deviations).along(direction)
    # At most half a step off in each of five dimensions: by Cauchy and Schwarz √5 / 2 steps along a unit.
    assert (np.abs(found - exact) <= largest / 127 * (5**0.5 / 2) + 1e-4 * largest + 1e-30).all()


@given(_DEVIATIONS)
def test_nothing_is_lost_by_joining_or_storing(deviations: np.ndarray) -> None:
    whole = odd(deviations)
    parts = [OddPatches.from_arrays({n: a[[row]] for n, a in whole.arrays().items()}) for row in (0, 1)]
    joined = OddPatches.joined(parts)
    assert len(joined) == 2
    for name in ODD_ARRAYS:
        np.testing.assert_array_equal(joined.arrays()[name], whole.arrays()[name])


def test_a_patch_that_deviates_nowhere_responds_to_nothing() -> None:
    found = odd(np.zeros((1, 2, 4), np.float32)).along(np.full(4, 0.5, np.float32))
    assert found.tolist() == [[0.0, 0.0]]
    with pytest.raises(ValueError, match="mismatch"):
        odd(np.zeros((1, 2, 4), np.float32)).along(np.ones(5, np.float32))
