"""The fields of a part, from its file's path, the settings and the time of day."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.errors import InputError
from anomalyvfm.line.fields import LONGEST, FieldRules, NamePattern, Shifts

NOON = datetime(2026, 11, 30, 12, 0)


@pytest.mark.parametrize(
    ("pattern", "path", "fields"),
    [
        ("{serial}", "lot-1/A17.png", {"serial": "A17"}),
        ("{serial}_{operator}", "A17_kim.png", {"serial": "A17", "operator": "kim"}),
        ("{serial}_{operator}", "A17.png", {}),
        ("*-{serial}", "2026-11-30-A17.png", {"serial": "11-30-A17"}),
        ("{lot}/{serial}", "L7/A17.png", {"lot": "L7", "serial": "A17"}),
        (
            "{product}/{lot}/*_{serial}",
            "gear/L7/cam1_A17.tiff",
            {"product": "gear", "lot": "L7", "serial": "A17"},
        ),
        ("{lot}/{serial}", "A17.png", {}),
        ("part ({serial})", "part (3.5).png", {"serial": "3.5"}),
    ],
)
def test_fields_are_read_from_the_path(pattern: str, path: str, fields: dict[str, str]) -> None:
    assert NamePattern(pattern).fields(Path(path)) == fields


@pytest.mark.parametrize(
    ("pattern", "says"), [("{colour}", "no field 'colour'"), ("{lot}/{lot}", "twice"), ("{}", "no field ''")]
)
def test_a_pattern_that_cannot_be_read_is_refused(pattern: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        NamePattern(pattern)


@pytest.mark.parametrize(
    ("at", "shift"),
    [
        (time(5, 59, 59), "night"),
        (time(6), "early"),
        (time(13, 59), "early"),
        (time(14), "late"),
        (time(23), "night"),
    ],
)
def test_the_last_shift_of_the_day_goes_on_after_midnight(at: time, shift: str) -> None:
    shifts = Shifts({"night": time(22), "early": time(6), "late": time(14)})
    assert shifts.at(datetime.combine(NOON, at)) == shift


def test_the_more_particular_counts() -> None:
    rules = FieldRules(
        {"line": "3", "lot": "fixed", "shift": "fixed"},
        NamePattern("{serial}_{operator}"),
        Shifts({"day": time(0)}),
    )
    assert rules.of(Path("A_kim.png"), NOON) == {
        "line": "3",
        "lot": "fixed",
        "shift": "day",
        "serial": "A",
        "operator": "kim",
    }
    assert rules.of(Path("tray/7/A_kim.png"), NOON)["lot"] == "tray/7"
    assert FieldRules().of(Path("A.png"), NOON) == {}


def test_fields_are_one_line_of_bounded_length() -> None:
    name = "a\nb\x1b[31m" + "x" * 300 + "\udcff"
    (lot,) = FieldRules().of(Path(name) / "a.png", NOON).values()
    assert len(lot) == LONGEST
    assert lot.startswith("ab[31mx")
    lot.encode()


CLOCK = st.times().map(lambda at: at.replace(second=0, microsecond=0))


@given(
    st.dictionaries(st.sampled_from("abcd"), CLOCK, max_size=4).filter(
        lambda begins: len(set(begins.values())) == len(begins)
    ),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(ZoneInfo("Europe/Berlin"))),
)
def test_the_last_shifts_follow_one_another_and_the_first_holds_the_moment(
    begins: dict[str, time], moment: datetime
) -> None:
    shifts = Shifts(begins)
    found = shifts.last(moment, 6)
    name, start, end = found[0]
    assert name == shifts.at(moment)
    assert start <= moment < end
    assert all(start == earlier[2] for (_, start, _), earlier in pairwise(found))
    assert sum((end - start for _, start, end in found[: len(begins) or 1]), timedelta()) == timedelta(days=1)
