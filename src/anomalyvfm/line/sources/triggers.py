"""When a frame shows a part: by time, when something has moved and lies still, or when somebody says so."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.line.sources.camera import CameraDownError, Picture

_CELLS = 24, 32
"""Places of a picture, down and across, of which each must be still."""
_ROWS_SEEN = 480
_MOST_ASKED = 8
"""Messages that may wait for a frame; who asks faster than frames come is not served later and later."""

Fields = Mapping[str, str]


class Trigger(Protocol):
    """Used by the thread of one camera."""

    def wait(self, ending: threading.Event) -> None:
        """Until a frame may be wanted, or this is to end; for cameras that do not stream."""

    def wanted(self) -> Fields | None:
        """What is known of the part that the frame at hand shows; None where the frame is not wanted."""

    def passes(self, picture: Picture) -> bool:
        """Whether a frame that was wanted shows a part."""

    def begin(self) -> None:
        """The camera is there."""

    def lost(self) -> list[Fields]:
        """Parts that were asked for and will not be seen: the camera is gone."""


class EveryTrigger:
    """A frame every so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due = -math.inf

    def wait(self, ending: threading.Event) -> None:
        ending.wait(max(0.0, min(self._due - time.monotonic(), self._seconds)))

    def wanted(self) -> Fields | None:
        now = time.monotonic()
        if now < self._due:
            return None
        # In step with the time before, unless that is missed altogether.
        self._due = self._due + self._seconds if self._due + self._seconds > now else now + self._seconds
        return {}

    def passes(self, picture: Picture) -> bool:
        return True

    def begin(self) -> None:
        """As before."""

    def lost(self) -> list[Fields]:
        return []


class MotionTrigger(EveryTrigger):
    """The first frame in which all is still after something has moved.

    Each place of the picture, 24 by 32 of them, is compared with itself a look before, by its mean green:
    a sensor's noise is averaged away, and the smallest part still fills some of them.
    """

    def __init__(self, seconds: float, levels: float, empty: NDArray[np.uint8] | None = None) -> None:
        """``empty``: the place without a part (H, W, 3), which is no part however still it is."""
        super().__init__(seconds)
        self._levels = levels
        self._empty = None if empty is None else _cells(empty)
        self._before: NDArray[np.float64] | None = None
        self._moved = False

    def passes(self, picture: Picture) -> bool:
        assert not isinstance(picture, bytes)
        before, self._before = self._before, _cells(picture)
        if before is None:
            return False
        if _differ(before, self._before, self._levels):
            self._moved = True
            return False
        if not self._moved:
            return False
        self._moved = False
        return self._empty is None or _differ(self._empty, self._before, self._levels)

    def begin(self) -> None:
        self._before = None  # what changed while nobody looked has not moved


class MessageTrigger:
    """A frame for each message, the next one that the camera has."""

    def __init__(self) -> None:
        self._asked: deque[Fields] = deque()
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._is_there = False

    def ask(self, fields: Fields) -> None:
        """From whatever thread. Raises CameraDownError where no frame will come of it."""
        with self._lock:
            if not self._is_there:
                raise CameraDownError("the camera is not there")
            if len(self._asked) >= _MOST_ASKED:
                raise CameraDownError(f"{_MOST_ASKED} frames are asked for, more than come")
            self._asked.append(fields)
        self._some.set()

    def wait(self, ending: threading.Event) -> None:
        if not self._asked:
            self._some.wait(0.2)
            self._some.clear()

    def wanted(self) -> Fields | None:
        with self._lock:
            return self._asked.popleft() if self._asked else None

    def passes(self, picture: Picture) -> bool:
        return True

    def begin(self) -> None:
        with self._lock:
            self._is_there = True

    def lost(self) -> list[Fields]:
        with self._lock:
            self._is_there = False
            lost = list(self._asked)
            self._asked.clear()
        return lost


def _cells(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean green of each place of a picture (H, W, 3), of some of its rows and columns."""
    step = max(1, picture.shape[0] // _ROWS_SEEN)
    green = picture[::step, ::step, 1]
    down, across = (min(cells, side) for cells, side in zip(_CELLS, green.shape, strict=True))
    high, wide = green.shape[0] // down, green.shape[1] // across
    cut = green[: down * high, : across * wide].reshape(down, high, across, wide)
    means: NDArray[np.float64] = cut.mean(axis=(1, 3))
    return means


def _differ(one: NDArray[np.float64], other: NDArray[np.float64], levels: float) -> bool:
    """Whether some place does by more than so many grey levels."""
    return one.shape != other.shape or bool(np.abs(one - other).max() > levels)
