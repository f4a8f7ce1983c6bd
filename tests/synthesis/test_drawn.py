"""Drawn defects: of every kind, anywhere, and nowhere else than their masks say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyvfm.synthesis import drawn
from anomalyvfm.synthesis.drawn import KINDS, drawn_defect


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    height=st.integers(32, 96),
    width=st.integers(32, 96),
    seed=st.integers(0, 1000),
)
def test_only_where_a_defect_may_be_is_drawn_and_it_is_as_if_all_were(
    kind: str, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    other = rng.integers(0, 256, (height + 5, width - 3, 3), dtype=np.uint8)
    before = image.copy()
    defective = drawn_defect(image, other, kind, np.random.default_rng(seed))
    assert np.array_equal(image, before)
    assert defective.shape == image.shape and defective.dtype == np.uint8
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(drawn._Defect, "box_of", lambda *_: (slice(0, height), slice(0, width)))
        everywhere = drawn_defect(image, other, kind, np.random.default_rng(seed))
    assert np.abs(defective.astype(int) - everywhere).max() <= 1  # a blur is rounded elsewhere


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_changes_an_image_and_the_same_seed_draws_the_same(kind: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    found = [drawn_defect(image, image[::-1], kind, np.random.default_rng(3)) for _ in range(2)]
    assert (found[0] != image).any()
    assert np.array_equal(found[0], found[1])


def test_a_grey_image_stays_grey() -> None:
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8), 3, axis=2)
    for kind in KINDS:
        defective = drawn_defect(grey, grey[::-1], kind, np.random.default_rng(1))
        assert (defective == defective[..., :1]).all(), kind
