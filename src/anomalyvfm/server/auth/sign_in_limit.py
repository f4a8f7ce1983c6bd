"""How often an address may try to sign in: who guesses is slowed down, and does not fill the audit log."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque

from anomalyvfm.server.problems import Problem

FAILURES = 10
"""An address that failed so often within `SECONDS` waits."""
SECONDS = 60.0
_ADDRESSES = 10_000  # the one heard of longest ago is forgotten beyond


class SignInLimit:
    """The times of each address's last failures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise Problem 429 where the address has failed too often."""
        with self._lock:
            failures = self._failures.get(address)
            if failures is None or len(failures) < FAILURES:
                return
            left = failures[0] + SECONDS - time.monotonic()
        if left > 0:
            raise Problem(429, f"too many tokens were wrong; wait {left:.0f} s", retry_after=int(left) + 1)

    def failed(self, address: str) -> None:
        with self._lock:
            self._failures.setdefault(address, deque(maxlen=FAILURES)).append(time.monotonic())
            self._failures.move_to_end(address)
            if len(self._failures) > _ADDRESSES:
                self._failures.popitem(last=False)
