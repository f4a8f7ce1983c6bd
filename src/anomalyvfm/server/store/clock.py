"""Times: seconds since 1970 inside, ISO 8601 in UTC outside."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from anomalyvfm.errors import InputError

now = time.time

_SYSTEM = Path("/etc/localtime")


def zone(name: str | None) -> ZoneInfo:
    """The time zone of that name (IANA), or the machine's own. Raises InputError for an unknown one."""
    if name is None:
        # A link into the zones' folder, or a file without a name; ``TZ`` is what containers have.
        place = str(_SYSTEM.resolve()).rpartition("zoneinfo/")[2]
        for known in (os.environ.get("TZ", "").lstrip(":"), place):
            with suppress(ZoneInfoNotFoundError, ValueError, OSError):
                if known:
                    return ZoneInfo(known)
        return ZoneInfo("UTC")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(f"--timezone {name}: not a time zone; give one such as Europe/Berlin") from None


def iso(seconds: float) -> str:
    stamp = datetime.fromtimestamp(seconds, timezone.utc)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_or_none(seconds: float | None) -> str | None:
    return None if seconds is None else iso(seconds)
