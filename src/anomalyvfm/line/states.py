"""How the parts of a line fare: each source and sink says whether it works, and why not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """``trouble`` is one line: what is wrong and what is being done about it; None when all is well."""

    trouble: str | None
    since: float
    """By the monotonic clock."""


class States:
    """What every source and sink says of itself, from any thread.

    A change is logged, and told to listeners.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}
        self._listeners: list[Callable[[str, str | None], None]] = []

    def listen(self, listener: Callable[[str, str | None], None]) -> None:
        """Tell of every change: the name, and its trouble."""
        self._listeners.append(listener)

    def well(self, name: str) -> None:
        self._set(name, None)

    def trouble(self, name: str, what: str) -> None:
        self._set(name, " ".join(what.split()))

    def forget(self, name: str) -> None:
        """It is there no more, or not yet again."""
        with self._lock:
            self._states.pop(name, None)

    def all(self) -> dict[str, State]:
        with self._lock:
            return dict(self._states)

    def troubles(self) -> dict[str, str]:
        return {name: state.trouble for name, state in self.all().items() if state.trouble is not None}

    def _set(self, name: str, trouble: str | None) -> None:
        with self._lock:
            before = self._states.get(name)
            if before is not None and before.trouble == trouble:
                return
            self._states[name] = State(trouble, time.monotonic())
        if trouble is None and before is None:
            return
        _log.warning("%s: %s", name, trouble or "works again")
        for listener in self._listeners:
            listener(name, trouble)
