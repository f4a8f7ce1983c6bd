"""Words for numbers: right for every number, not only the usual ones."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.server.pages.language import moment
from anomalyvfm.server.pages.wording import odds, one_in, percent, score


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.004, "At most about 1 in 250 good parts looks this odd."),
        (0.9, "Most good parts look at least this odd."),
    ],
)
def test_odds_are_a_share_in_words(p: float, said: str) -> None:
    assert odds(p) == said


@given(st.floats(1e-6, 1))
def test_one_in_is_within_rounding_of_the_share(share: float) -> None:
    times = Fraction(one_in(share).removeprefix("1 in ").replace(",", ""))
    assert abs(float(times) * share - 1) < 0.06


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, "–"),
        (0.0, "0%"),
        (0.0007, "0.07%"),
        (0.01, "1.0%"),
        (0.0142, "1.4%"),
        (0.12, "12%"),
        (1.0, "100%"),
    ],
)
def test_percent(share: float | None, said: str) -> None:
    assert percent(share) == said


def test_small_words() -> None:
    assert (score(-0.184), score(None), score(2.5)) == ("−0.18", "–", "2.50")
    assert moment("2026-11-23T14:05:09.250Z") == "23 Nov 2026, 14:05:09 UTC"
    assert moment("2026-11-23T15:05:09+01:00") == "23 Nov 2026, 14:05:09 UTC"
