from __future__ import annotations

from dataclasses import replace

from false_alarms import Count, holds, table

COUNT = Count("tiles", 300, 0, 0.05, True, 300, 200, 10, 1.0)


def test_a_promise_holds_with_nine_splits_of_ten_inside_and_an_average_not_above() -> None:
    assert holds([0] * 9 + [1], [0.05] * 10, 0.05)
    assert not holds([0] * 8 + [-1, 1], [0.05] * 10, 0.05)
    assert not holds([0] * 10, [0.05] * 9 + [0.06], 0.05)


def test_the_table_tells_which_side_of_the_bands_splits_fall_on() -> None:
    counts = [replace(COUNT, split=split, alarms=alarms) for split, alarms in enumerate((10, 10, 1, 25))]
    row = table(counts).splitlines()[2].split(" | ")
    assert row[3] == "5%"
    assert row[4] == "5.75% (0.50% to 12.50%)"
    assert row[5:8] == ["50%", "25%", "25%"]
    assert row[-1] == "no |"


def test_nothing_is_kept_or_broken_where_nothing_is_promised() -> None:
    row = table([replace(COUNT, rate=0.01, promised=False, calibrating=60)]).splitlines()[2].split(" | ")
    assert row[3] == "1%, not promised"
    assert row[-1] == "– |"
