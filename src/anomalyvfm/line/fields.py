"""Who a part is: line, product, lot, serial number, operator and shift, from what is known of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

from anomalyvfm.errors import InputError

FIELDS: Final = ("line", "product", "lot", "serial", "operator", "shift")
LONGEST: Final = 100
"""Letters of a field that are kept."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class NamePattern:
    """A file's path as a text with fields in braces: ``{lot}/{serial}_{operator}``, its ending left out.

    A field is as short as it can be and holds no slash; ``*`` stands for anything. Raises InputError for a
    field that there is not, or one named twice.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._pattern = _with_fields(text, "[^/]+?")
        # Without folders in it, the pattern is that of the name alone, in whatever lot.
        self._whole = "/" in text

    def fields(self, path: Path) -> dict[str, str]:
        """The fields in a path below the watched folder; none where it is not as the pattern says."""
        named = path.with_suffix("")
        found = self._pattern.fullmatch(named.as_posix() if self._whole else named.name)
        return found.groupdict() if found else {}


class CodePattern:
    """What a bar code says as a text with fields in braces, as those of names: ``(01)*(21){serial}``."""

    def __init__(self, text: str) -> None:
        self._pattern = _with_fields(text, ".+?")

    def fields(self, codes: Iterable[str]) -> dict[str, str]:
        """The fields in the one code that is as the pattern says; none where there are several such."""
        found = [match.groupdict() for code in sorted(set(codes)) if (match := self._pattern.fullmatch(code))]
        return found[0] if len(found) == 1 else {}


def _with_fields(text: str, field_: str) -> re.Pattern[str]:
    """``field_``: what a field may be. Raises InputError."""
    pieces, at = [], 0
    for found in _PLACEHOLDER.finditer(text):
        if found[1] not in FIELDS:
            raise InputError(f"{text!r}: no field {found[1]!r}; there are {', '.join(FIELDS)}")
        pieces += [_literal(text[at : found.start()]), f"(?P<{found[1]}>{field_})"]
        at = found.end()
    pieces.append(_literal(text[at:]))
    try:
        return re.compile("".join(pieces), re.DOTALL)
    except re.error:
        raise InputError(f"{text!r}: names a field twice; leave one out") from None


def _literal(text: str) -> str:
    return ".*?".join(re.escape(piece) for piece in text.split("*"))


@dataclass(frozen=True)
class Shifts:
    """When each shift begins, of the day; the last one goes on until the first."""

    begins: Mapping[str, time]

    def at(self, moment: datetime) -> str | None:
        """The shift at a moment of the site's clock; None where there are no shifts."""
        if not self.begins:
            return None
        in_order = sorted(self.begins.items(), key=lambda shift: shift[1])
        begun = [name for name, begin in in_order if begin <= moment.time()]
        return begun[-1] if begun else in_order[-1][0]

    def last(self, moment: datetime, count: int) -> list[tuple[str | None, datetime, datetime]]:
        """The shift at a moment of the site's clock and those before, with begin and end; else days."""
        begins: list[tuple[str | None, time]] = [(None, time())]
        if self.begins:
            begins = sorted(self.begins.items(), key=lambda shift: shift[1])
        found: list[tuple[str | None, datetime, datetime]] = []
        day, end = moment.date() + timedelta(days=1), None
        while len(found) < count:
            for name, begin in reversed(begins):
                start = datetime.combine(day, begin, moment.tzinfo)
                if end is not None and start <= moment and len(found) < count:
                    found.append((name, start, end))
                end = start
            day -= timedelta(days=1)
        return found


@dataclass(frozen=True)
class FieldRules:
    """Where the fields of a part come from; what is more particular counts."""

    fixed: Mapping[str, str] = field(default_factory=dict)
    pattern: NamePattern | None = None
    shifts: Shifts = field(default_factory=lambda: Shifts({}))
    code: CodePattern | None = None

    def of(self, path: Path, moment: datetime, codes: Iterable[str] = ()) -> dict[str, str]:
        """The fields of the part in a file below the watched folder, whose sub-folders are lots.

        ``codes``: what bar codes in its picture say.
        """
        found = dict(self.fixed)
        if (shift := self.shifts.at(moment)) is not None:
            found["shift"] = shift
        if path.parent != Path():
            found["lot"] = path.parent.as_posix()
        if self.pattern is not None:
            found |= self.pattern.fields(path)
        if self.code is not None:
            found |= self.code.fields(codes)
        return {name: plain(found[name]) for name in FIELDS if found.get(name)}


def harmless(value: Any) -> Any:
    """A table's value: a spreadsheet runs what begins like a formula, and names come from anywhere."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def plain(text: str) -> str:
    """A field's text as it is kept: one line of printable letters."""
    text = text.encode(errors="surrogateescape").decode(errors="replace")
    return "".join(letter for letter in text if letter.isprintable()).strip()[:LONGEST]
