"""How versions of a model descend from one another, and which of them need a whole copy on the disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from anomalyvfm.server.store.tables import VersionRow

MOST_STEPS = 16
"""From a version to the whole copy it is made from; each step is an image to be learned or forgotten."""

Test = Callable[[VersionRow], bool]


class Lineage:
    """The versions of one model, of which some are whole on the disk.

    Any other is its parent and one change: an image learned or forgotten, another rate or calibration. A
    parent's number is lower than its children's.
    """

    def __init__(self, rows: Sequence[VersionRow], is_whole: Test) -> None:
        self._rows = {row.number: row for row in sorted(rows, key=lambda row: row.number)}
        self._whole = {row.number for row in self._rows.values() if row.folder and is_whole(row)}

    def path(self, number: int) -> list[VersionRow]:
        """From a whole version to this one; empty where none is left to begin with."""
        found: list[VersionRow] = []
        step: int | None = number
        while step is not None and (row := self._rows.get(step)) is not None and row.folder:
            found.append(row)
            if step in self._whole:
                return found[::-1]
            step = row.parent
        return []

    def needed(self, wanted: Collection[int]) -> set[int]:
        """The wanted versions, and those they are made from."""
        return {row.number for number in wanted for row in self.path(number)}

    def superfluous(self, can_be_made: Test, stay: Collection[int]) -> list[VersionRow]:
        """Whole versions whose copies can go: all others stay within reach of one.

        ``can_be_made`` says whether a version follows from its parent; those that ``stay`` are kept.
        """
        steps: dict[int, int] = {}
        superfluous = []
        for number, row in self._rows.items():
            before = steps.get(row.parent) if row.parent is not None else None
            if number in self._whole:
                may_go = number not in stay and before is not None and before + 1 < MOST_STEPS
                if not (may_go and can_be_made(row)):
                    steps[number] = 0
                    continue
                superfluous.append(row)
            if row.folder and before is not None:
                steps[number] = before + 1
        return superfluous
