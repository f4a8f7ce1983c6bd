"""How often one may try to sign in: who guesses is slowed down, and does not fill the audit log."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque

from anomalyvfm.server.problems import Problem

_MOST_KNOWN = 10_000  # the one heard of longest ago is forgotten beyond


class SignInLimit:
    """The times of the last failures of each address, or of each name.

    Whoever fails ``failures`` times within ``seconds`` waits until the first of these is so long ago.
    """

    def __init__(self, failures: int, seconds: float, what: str) -> None:
        self._most = failures
        self._seconds = seconds
        self._what = what
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, who: str) -> None:
        """Raise Problem 429 where that one has failed too often."""
        with self._lock:
            failures = self._failures.get(who)
            if failures is None or len(failures) < self._most:
                return
            left = failures[0] + self._seconds - time.monotonic()
        if left > 0:
            detail = f"too many {self._what} were wrong; wait {_duration(left)}"
            raise Problem(429, detail, retry_after=int(left) + 1)

    def failed(self, who: str) -> None:
        with self._lock:
            self._failures.setdefault(who, deque(maxlen=self._most)).append(time.monotonic())
            self._failures.move_to_end(who)
            if len(self._failures) > _MOST_KNOWN:
                self._failures.popitem(last=False)

    def succeeded(self, who: str) -> None:
        with self._lock:
            self._failures.pop(who, None)

    def is_locked(self, who: str) -> bool:
        try:
            self.check(who)
        except Problem:
            return True
        return False


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
