"""How many defects of which stage, for every version and category group."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.errors import InputError
from anomalyvfm.synthesis import MIXES, Group, Mix, mixes, orders

# texture, structural, contextual, of 90
TABLE: list[tuple[str, Group, tuple[int, int, int]]] = [
    ("v1.1", "high-texture", (30, 30, 30)),
    ("v1.1", "high-performance", (30, 30, 30)),
    ("v1.1", "medium", (30, 30, 30)),
    ("v1.2", "high-texture", (40, 25, 25)),
    ("v1.2", "high-performance", (20, 35, 35)),
    ("v1.2", "medium", (30, 30, 30)),
    ("v1.4", "high-texture", (45, 27, 18)),
    ("v1.4", "high-performance", (18, 45, 27)),
    ("v1.4", "medium", (36, 27, 27)),
]


@pytest.mark.parametrize(("version", "group", "expected"), TABLE)
def test_counts_follow_the_table(version: str, group: Group, expected: tuple[int, int, int]) -> None:
    (mix,) = mixes(version, group)
    assert tuple(mix.counts().values()) == expected


@pytest.mark.parametrize("group", ["high-texture", "high-performance", "medium"])
def test_v13_has_a_mix_for_each_scale_whatever_the_group(group: Group) -> None:
    percent = [tuple(mix.counts(100).values()) for mix in mixes("v1.3", group)]
    assert percent == [(20, 50, 30), (40, 30, 30), (50, 20, 30)]
    made = orders(mixes("v1.3", group))
    assert len(made) == 90
    assert [
        sum(order.stage == stage for order in made) for stage in ("texture", "structural", "contextual")
    ] == [33, 30, 27]


def test_only_v14_has_the_extra_kinds() -> None:
    for version in MIXES:
        for mix in mixes(version):
            extra = version == "v1.4"
            assert ("blur" in mix.textures) == ("salt-and-pepper" in mix.textures) == extra
            assert ("polygon" in mix.structures) == extra
            assert {"circle", "rectangle", "line"} <= set(mix.structures)


@given(
    shares=st.tuples(*[st.floats(0.01, 100)] * 3),
    total=st.integers(0, 500),
)
def test_counts_add_up_and_stay_within_one_of_the_exact_share(
    shares: tuple[float, float, float], total: int
) -> None:
    counts = Mix(shares).counts(total)
    assert sum(counts.values()) == total
    for share, count in zip(shares, counts.values(), strict=True):
        assert abs(count - total * share / sum(shares)) < 1 + 1e-6


def test_a_stage_can_be_left_out() -> None:
    (mix,) = mixes("v1.2", "high-texture")
    assert mix.without("contextual").counts(65) == {"texture": 40, "structural": 25, "contextual": 0}


def test_a_version_that_makes_no_defects_is_refused() -> None:
    with pytest.raises(InputError, match=r"'v2' makes no synthetic defects"):
        mixes("v2")


def test_orders_depend_on_the_seed_alone() -> None:
    chosen = mixes("v1.4")
    assert orders(chosen, 30, seed=1) == orders(chosen, 30, seed=1) != orders(chosen, 30, seed=2)
