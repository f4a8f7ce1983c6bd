"""What no row names, for some days: a mistake with a database or a folder costs nothing that is there."""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4


class Trash:
    """``data/trash/2026-11-27/files/ab/ab12…``: the day it was put there, and where in ``data`` it lay.

    To take something back, stop the station and move it to where it lay.
    """

    def __init__(self, data: Path, days: int) -> None:
        self._data = data
        self._folder = data / "trash"
        self._days = days

    def take(self, path: Path) -> None:
        """Move a file or a folder here. Raises OSError where it cannot be moved, and it stays then."""
        place = self._folder / date.today().isoformat() / path.relative_to(self._data)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            place = place.with_name(f"{place.name}.{uuid4().hex}")
        path.rename(place)

    def empty(self) -> int:
        """Delete what has been here long enough; the bytes freed."""
        freed = 0
        last = date.today() - timedelta(days=self._days)
        for folder in self._folder.glob("*"):
            with suppress(ValueError):  # not a day: somebody else's
                if date.fromisoformat(folder.name) < last:
                    freed += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                    shutil.rmtree(folder, ignore_errors=True)
        return freed
