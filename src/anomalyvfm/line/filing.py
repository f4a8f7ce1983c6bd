"""Results on the disk: of each part its message as JSON, its overlay, and its image if that is moved."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.errors import InputError
from anomalyvfm.line.folder import state_of
from anomalyvfm.line.growing import append, last_lines
from anomalyvfm.line.ledger import FileState, Ledger, Unfiled
from anomalyvfm.line.states import States

_log = logging.getLogger(__name__)

Then = Literal["leave", "move"]
"""What becomes of a judged image."""

PARTS, PREDICTIONS = "parts", "predictions.jsonl"
_AHEAD = 8
"""Pictures that wait in memory to be drawn; of what comes beyond, they are made again from the images."""
_PAUSE_SECONDS = 2.0
_AT_ONCE = 100


@dataclass(frozen=True)
class Picture:
    """What an overlay is drawn of."""

    image: NDArray[np.uint8]
    verdict: Verdict


class Filing:
    """A thread that writes down what the ledger holds, in its order, and goes on with it after a restart.

    It may fall behind without holding up verdicts. A part's files: ``parts/PATH.json``,
    ``parts/PATH.map.jpg``, and ``parts/PATH`` itself where images are moved.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        out: Path,
        then: Then,
        redraw: Callable[[Unfiled], Picture | None],
        states: States,
    ) -> None:
        """``redraw`` makes a picture again from a part's image; None where that is gone."""
        self._ledger = ledger
        self._folder = folder
        self._out = out
        self._then = then
        self._redraw = redraw
        self._states = states
        self._waiting: deque[tuple[Unfiled, Picture | None]] = deque()
        self._changed = threading.Condition()
        self._behind = True
        """Whether the ledger has more to file than waits here, as after a restart."""
        self._until: float | None = None
        """When this must end, once it is to."""
        self._listed = _last_number(out / PREDICTIONS)
        self._thread = threading.Thread(target=self._run, name="file results")
        self._thread.start()

    def add(self, part: Unfiled, picture: Picture | None) -> None:
        """File a part that has just entered the ledger; it has a picture if its message names one."""
        with self._changed:
            if self._behind or len(self._waiting) >= _AHEAD:
                self._behind = True  # the ledger has it
            else:
                self._waiting.append((part, picture))
            self._changed.notify()

    def close(self, within: float) -> None:
        """Write what there is, if it can be written and for so many seconds, and stop."""
        with self._changed:
            self._until = time.monotonic() + within
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            for part, picture in batch:
                if (self._until is not None and time.monotonic() > self._until) or not self._file(
                    part, picture
                ):
                    return

    def _next(self) -> list[tuple[Unfiled, Picture | None]] | None:
        with self._changed:
            while True:
                if self._waiting:
                    return [self._waiting.popleft()]
                if self._behind:
                    if left := self._ledger.unfiled(_AT_ONCE):
                        return [(part, None) for part in left]
                    self._behind = False
                if self._until is not None:
                    return None
                self._changed.wait()

    def _file(self, part: Unfiled, picture: Picture | None) -> bool:
        """Try until it is done; False where this is to end and it is not."""
        while True:
            try:
                self._write(part, picture)
                self._states.well("results")
                return True
            except (NotADirectoryError, FileExistsError, IsADirectoryError) as error:
                # A lot is called as an image of another was: no waiting makes room.
                _log.error("%s is not filed: %s: %s", part.path, error.filename, error.strerror)
                self._ledger.mark_filed(part.number)
                return True
            except OSError as error:
                what = f"{error.filename or self._out}: {error.strerror or error}"
                self._states.trouble("results", f"{what}; what is not written yet is in the ledger")
            with self._changed:
                if self._until is not None and time.monotonic() > self._until:
                    return False
                self._changed.wait(_PAUSE_SECONDS)

    def _write(self, part: Unfiled, picture: Picture | None) -> None:
        place = self._out / PARTS / part.stored
        place.parent.mkdir(parents=True, exist_ok=True)
        message = json.loads(part.message)
        if message.get("map") is not None:
            try:
                if (picture := picture or self._redraw(part)) is not None:
                    _draw(picture, self._out / message["map"])
            except OSError:
                raise
            except Exception:  # no picture is worth the results of all that come after it
                _log.exception("%s is not drawn", message["map"])
        _write_text(place.with_name(f"{place.name}.json"), part.message + "\n")
        if part.number > self._listed:
            append(self._out / PREDICTIONS, (part.message + "\n").encode())
            self._listed = part.number
        if self._then == "move":
            _move(self._folder / part.path, part.state, place)
        self._ledger.mark_filed(part.number)


def _draw(picture: Picture, place: Path) -> None:
    from anomalyvfm.visual.panels import draw_sheet
    from anomalyvfm.visual.pictures import save_picture

    save_picture(draw_sheet(picture.image, picture.verdict), place)


def _write_text(place: Path, text: str) -> None:
    partial = place.with_name(f".{place.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(place)


def _move(source: Path, state: FileState, place: Path) -> None:
    """Also to another file system, and a second time where the first was cut short."""
    if state_of(source) != state:  # gone, or already another part's
        if not place.exists():
            _log.warning("%s: gone before it was moved", source)
        return
    try:
        source.rename(place)
    except OSError as error:
        if error.errno != errno.EXDEV:  # that it lies on another file system
            raise
        partial = place.with_name(f".{place.name}.partial")
        shutil.copy2(source, partial)
        partial.replace(place)
        source.unlink()


def _last_number(place: Path) -> int:
    """Of the last whole line; what follows it in the file, of a process that was killed, is cut off."""
    lines = last_lines(place)
    if not lines:
        return 0
    try:
        number = json.loads(lines[-1])["number"]
    except (ValueError, KeyError, TypeError):
        number = None
    if not isinstance(number, int):
        raise InputError(f"{place}: its last line is none that `watch` wrote; move it away")
    return number
