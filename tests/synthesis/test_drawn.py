"""Drawn defects: of every kind, anywhere, and nowhere else than their masks say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyvfm.synthesis.drawn import KINDS, drawn_defect


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    height=st.integers(32, 96),
    width=st.integers(32, 96),
    seed=st.integers(0, 1000),
)
def test_what_differs_is_what_the_mask_says(kind: str, height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    other = rng.integers(0, 256, (height + 5, width - 3, 3), dtype=np.uint8)
    before = image.copy()
    defective, mask = drawn_defect(image, other, kind, rng)
    assert np.array_equal(image, before)
    assert defective.shape == image.shape and defective.dtype == np.uint8
    assert np.array_equal(mask, (defective != image).any(2))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_changes_an_image_and_the_same_seed_draws_the_same(kind: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    found = [drawn_defect(image, image[::-1], kind, np.random.default_rng(3)) for _ in range(2)]
    assert found[0][1].any()
    assert np.array_equal(found[0][0], found[1][0])


def test_a_grey_image_stays_grey() -> None:
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8), 3, axis=2)
    for kind in KINDS:
        defective, _ = drawn_defect(grey, grey[::-1], kind, np.random.default_rng(1))
        assert (defective == defective[..., :1]).all(), kind
