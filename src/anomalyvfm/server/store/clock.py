"""Times: seconds since 1970 inside, ISO 8601 in UTC outside."""

from __future__ import annotations

import time
from datetime import datetime, timezone

now = time.time


def iso(seconds: float) -> str:
    stamp = datetime.fromtimestamp(seconds, timezone.utc)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_or_none(seconds: float | None) -> str | None:
    return None if seconds is None else iso(seconds)
