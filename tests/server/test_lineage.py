"""Which versions need a copy on the disk, over any history."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.server.models.lineage import MOST_STEPS, Lineage
from anomalyvfm.server.store.tables import VersionRow


@st.composite
def histories(draw: st.DrawFn) -> list[VersionRow]:
    """Versions that descend from any earlier one, as after going back, some imported."""
    rows = [VersionRow(number=1, parent=None, action="import", folder="a")]
    for number in range(2, draw(st.integers(2, 60))):
        imported = draw(st.integers(0, 15)) == 0
        parent = None if imported else draw(st.integers(max(1, number - 4), number - 1))
        rows.append(VersionRow(number=number, parent=parent, action="import" if imported else "learn"))
        rows[-1].folder = "a"
    return rows


@given(histories(), st.data())
def test_every_version_stays_within_reach_of_a_copy(rows: list[VersionRow], data: st.DataObject) -> None:
    whole = {row.number for row in rows}
    fixed = {number for number in whole if data.draw(st.integers(0, 9)) == 0}  # whose image is gone
    stay = {row.number for row in rows if row.action == "import"}
    gone = {
        row.number
        for row in Lineage(rows, lambda _: True).superfluous(lambda row: row.number not in fixed, stay)
    }
    assert not gone & (fixed | stay)
    thinned = Lineage(rows, lambda row: row.number not in gone)
    for row in rows:
        path = thinned.path(row.number)
        assert path[-1] is row and path[0].number in whole - gone
        assert 1 <= len(path) <= MOST_STEPS
        assert all(child.parent == parent.number for parent, child in itertools.pairwise(path))
    # Once thinned out, nothing more can go; and no copy is kept that could have gone.
    assert not thinned.superfluous(lambda row: row.number not in fixed, stay)
    parents = {row.number: row.parent or 0 for row in rows}
    for number in whole - gone - fixed - stay:
        assert len(thinned.path(parents[number])) == MOST_STEPS


@given(histories(), st.data())
def test_what_is_needed_by_what_stays_is_found(rows: list[VersionRow], data: st.DataObject) -> None:
    whole = {1} | {row.number for row in rows if row.action == "import" or data.draw(st.booleans())}
    lineage = Lineage(rows, lambda row: row.number in whole)
    wanted = data.draw(st.sets(st.sampled_from([row.number for row in rows])))
    needed = lineage.needed(wanted)
    assert wanted <= needed
    for row in rows:
        if row.number not in needed:
            row.folder = ""
    left = Lineage(rows, lambda row: row.number in whole)
    assert all(left.path(number) for number in wanted)
    assert not any(left.path(row.number) for row in rows if row.number not in needed)


def test_a_history_in_one_line_keeps_every_sixteenth_copy() -> None:
    rows = [VersionRow(number=n, parent=n - 1 or None, action="learn", folder="a") for n in range(1, 101)]
    gone = {row.number for row in Lineage(rows, lambda _: True).superfluous(lambda _: True, {1})}
    assert set(range(1, 101)) - gone == set(range(1, 101, MOST_STEPS))
