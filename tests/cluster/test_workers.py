"""How workers share what machines have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.cluster.workers import share

MACHINES = st.lists(st.integers(1, 64), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("have", "workers", "each"),
    [
        ([2], 2, 1),
        ([2], 1, 2),
        ([2], 4, 1 / 2),
        ([1, 1], 1, 1),  # not two, which no machine has
        ([1], 3, 0.3333),
        ([1, 1], 3, 1 / 2),  # not two thirds, of which each machine has but one
        ([4, 2], 3, 2),
        ([5, 1], 3, 1),  # of two each, there would be two
        ([64, 8, 8], 3, 21),
    ],
)
def test_each_has_the_most_that_lets_all_be_somewhere(have: list[float], workers: int, each: float) -> None:
    assert share(have, workers) == each


@given(MACHINES, st.integers(1, 64))
def test_all_fit_and_none_could_have_more(have: list[float], workers: int) -> None:
    def fit(each: float) -> int:
        return sum(int(one / each + 1e-9) for one in have)

    each = share(have, workers)
    assert fit(each) >= workers
    larger = each + 1 if each >= 1 else 1 / (round(1 / each) - 1)
    assert fit(larger) < workers
