"""What a page's address asks for, checked: a wrong value gets one line, not a guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

from anomalyvfm.server.problems import Problem

# Larger numbers overflow the database's integers, smaller ones name nothing.
_LARGEST_ID = 2**63 - 1


def chosen(query: Mapping[str, str], name: str, of: Sequence[str], default: str = "") -> str:
    """One of some values, or the default where it is absent or empty. Raises Problem 422."""
    value = query.get(name) or default
    if value != default and value not in of:
        raise Problem(422, f"{name}={value[:40]}: not one of {', '.join(of)}")
    return value


def identity(query: Mapping[str, str], name: str) -> int | None:
    """The number of an inspection, or None. Raises Problem 422."""
    value = query.get(name)
    if not value:
        return None
    if not (value.isascii() and value.isdigit()) or not 0 < int(value[:20]) <= _LARGEST_ID:
        raise Problem(422, f"{name}={value[:40]}: not the number of a part")
    return int(value)


def minute(query: Mapping[str, str], name: str, zone: tzinfo) -> datetime | None:
    """A minute by the zone's clock, or None. Raises Problem 422."""
    value = query.get(name)
    if not value:
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%dT%H:%M").replace(tzinfo=zone)
    except ValueError:
        raise Problem(422, f"{name}={value[:40]}: not a time as 2026-11-23T14:00") from None


def day(query: Mapping[str, str], name: str, zone: tzinfo, end: bool = False) -> datetime | None:
    """When a day in the zone begins, or ends; or None. Raises Problem 422."""
    value = query.get(name)
    if not value:
        return None
    try:
        start = datetime.strptime(value, "%Y-%m-%d")
        # The next day's midnight by the clock: a day may have 23 or 25 hours.
        return (start + timedelta(days=1) if end else start).replace(tzinfo=zone)
    except (ValueError, OverflowError):
        raise Problem(422, f"{name}={value[:40]}: not a day as 2026-11-23") from None
