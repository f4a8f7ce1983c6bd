"""A thread for each sink: it tells what the outbox has, again until the other side has it."""

from __future__ import annotations

import heapq
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from anomalyvfm.line.messages import OUTCOMES, Message, Outcome
from anomalyvfm.line.sinks.sink import Refusal, Sink, SinkDownError
from anomalyvfm.line.states import States

_log = logging.getLogger(__name__)

_AT_ONCE = 50
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 60.0
"""Seconds before something is tried again; twice as long each time."""
_REFUSALS_IN_A_ROW = 5
"""After so many the sink counts as down: what comes waits in the outbox instead of being tried each."""
_BEAT_SECONDS = 1.0
_REMEMBERED = 2_000


class Outbox(Protocol):
    """What sinks are to be told, kept on the disk. Each method raises OSError where that is full or away."""

    def subscribe(self, sink: str) -> None:
        """Give a sink a place among the parts: one that is new hears of those judged from now on."""

    def untold(self, sink: str, limit: int) -> list[Message]:
        """What a sink has not been told, the oldest first."""

    def put_off(self, sink: str) -> list[int]:
        """Numbers of what the sink did not take at first and is to be told again."""

    def message(self, number: int) -> Message | None:
        """None where it has been deleted meanwhile."""

    def told(self, sink: str, number: int) -> None:
        """The sink has it: of its news this or one put off."""

    def refused(self, sink: str, number: int, reason: str, final: bool) -> None:
        """The sink would not have this one: it is put off, or ``final``: never sent again by itself."""

    def waiting(self, sink: str) -> tuple[int, int]:
        """How many messages wait for a sink, and how many it refused for good."""


@dataclass
class Told:
    """What a delivery has done since it began."""

    delivered: int = 0
    refusals: int = 0
    """Times that a message was not taken."""
    too_late: int = 0
    """Messages that the sink had no use for any more."""
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """From the image to the other side's acknowledgement, of the last messages that had not waited."""


class Delivery:
    """Tells one sink, in order; what it refuses by itself is told again later, so that it holds up nothing.

    At least once: where a process is killed between an acknowledgement and the note of it, the other side
    gets the message again, under the same id.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        outbox: Outbox,
        states: States,
        wanted: Collection[Outcome] = OUTCOMES,
        max_age: float | None = None,
    ) -> None:
        """``max_age``: seconds after which a message is of no use: it would be taken for another part's."""
        self.name = name
        self.done = Told()
        self._sink = sink
        self._outbox = outbox
        self._states = states
        self._wanted = wanted
        self._max_age = max_age
        self._again: list[tuple[float, int, int]] = []
        """A heap of when, by the monotonic clock, for the how manyth time, and what is tried again."""
        self._in_a_row = 0
        self._pauses = 0
        self._wake = threading.Event()
        self._until: float | None = None
        """When this must end, once it is to."""
        outbox.subscribe(name)
        self._thread = threading.Thread(target=self._run, name=f"tell {name}")

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something to tell."""
        self._wake.set()

    def end(self, within: float) -> None:
        """Tell what there is, but no longer than so many seconds, then end; `join` waits for it."""
        self._until = time.monotonic() + within
        self._wake.set()

    def join(self) -> None:
        self._thread.join()

    def describe(self) -> dict[str, Any]:
        """What it has done, what waits, and the milliseconds from the image to the acknowledgement."""
        waiting, given_up = self._outbox.waiting(self.name)
        return {
            "delivered": self.done.delivered,
            "waiting": waiting,
            "refusals": self.done.refusals,
            "given_up": given_up,
            "too_late": self.done.too_late,
            "ms": quantiles(self.done.seconds),
        }

    def _run(self) -> None:
        is_known = False
        while self._until is None or time.monotonic() < self._until:
            try:
                if not is_known:
                    self._again = [
                        (time.monotonic(), 1, number) for number in self._outbox.put_off(self.name)
                    ]
                    is_known = True
                if self._tell_some():
                    continue
                if self._until is not None and not self._again:
                    break
                self._sink.beat()
                if not self._in_a_row:
                    self._mend()
                rest = _BEAT_SECONDS
            except SinkDownError as error:
                rest = self._down(str(error))
            except OSError as error:  # of the outbox's disk
                rest = self._down(f"what it was told is not noted: {error.strerror or error}")
            except Exception as error:
                _log.exception("telling %s", self.name)
                rest = self._down(f"{type(error).__name__}: {error}")
            self._rest(rest)
        try:
            self._sink.close()
        except Exception:
            _log.exception("closing %s", self.name)

    def _rest(self, seconds: float) -> None:
        if self._pauses == 0:  # while it is down, news waits as well
            if self._again:
                seconds = min(seconds, self._again[0][0] - time.monotonic())
            self._wake.wait(max(0.0, seconds))
            self._wake.clear()
            return
        until = time.monotonic() + seconds
        while (left := min(until, self._until or until) - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def _tell_some(self) -> bool:
        """Whether there was anything to tell."""
        at_once = 1 if self._pauses or self._max_age is not None else _AT_ONCE
        again: dict[int, int] = {}
        while self._again and self._again[0][0] <= time.monotonic() and len(again) < at_once:
            _, tries, number = heapq.heappop(self._again)
            again[number] = tries
        try:
            messages = []
            for number in list(again):
                if (message := self._outbox.message(number)) is not None:
                    messages.append(message)
                else:
                    self._outbox.told(self.name, number)
                    del again[number]
            passed, of_use = self._fresh(at_once - len(messages))
            self._send([*messages, *of_use], again)
            if passed is not None:
                self._outbox.told(self.name, passed)  # and so are all before it
        finally:
            for number, tries in again.items():  # neither taken nor refused
                heapq.heappush(self._again, (time.monotonic(), tries, number))
        return bool(messages or of_use) or passed is not None

    def _fresh(self, most: int) -> tuple[int | None, list[Message]]:
        """What is told for the first time, after the number up to which the rest is of no use to the sink."""
        passed, of_use = None, list[Message]()
        for message in self._outbox.untold(self.name, _AT_ONCE) if most else []:
            if self._is_of_use(message):
                of_use.append(message)
                passed = None
            else:
                passed = message.number
            if len(of_use) == most:
                break
        return passed, of_use

    def _is_of_use(self, message: Message) -> bool:
        if message.outcome not in self._wanted:
            return False
        if self._max_age is None:
            return True
        in_time = message.arrived is not None and time.monotonic() - message.arrived <= self._max_age
        self.done.too_late += not in_time
        return in_time

    def _send(self, messages: Sequence[Message], again: dict[int, int]) -> None:
        """Send and note what came of each; ``again``, numbers and tries, loses those that are settled."""
        if not messages:
            return
        # The sink comes first, so that it is heard to its end, what it does after the last message included.
        for refusal, message in zip(self._sink.send(messages), messages, strict=True):
            tries = again.get(message.number, 0)
            if refusal is None:
                self._outbox.told(self.name, message.number)
                again.pop(message.number, None)
                self._note(message, tries)
            else:
                self._outbox.refused(self.name, message.number, refusal.reason, refusal.final)
                again.pop(message.number, None)
                self._refuse(message, refusal, tries)
                if self._in_a_row >= _REFUSALS_IN_A_ROW:
                    raise SinkDownError(f"took none of the last messages: {refusal.reason}")

    def _note(self, message: Message, tries: int) -> None:
        self.done.delivered += 1
        if message.arrived is not None and not tries and not self._pauses:
            self.done.seconds.append(time.monotonic() - message.arrived)
        self._mend()

    def _refuse(self, message: Message, refusal: Refusal, tries: int) -> None:
        self.done.refusals += 1
        if refusal.final:
            _log.warning("%s: will not take part %d: %s", self.name, message.number, refusal.reason)
            return
        self._in_a_row += 1
        heapq.heappush(self._again, (time.monotonic() + pause(tries), tries + 1, message.number))

    def _mend(self) -> None:
        self._in_a_row = self._pauses = 0
        self._states.well(f"sink {self.name}")

    def _down(self, why: str) -> float:
        self._states.trouble(f"sink {self.name}", f"{why}; what it is to be told waits")
        self._pauses += 1
        # What is of no use after a second is not to wait for a minute when the other side is back.
        return min(pause(self._pauses - 1), self._max_age or _LONGEST_PAUSE)


def quantiles(seconds: Sequence[float]) -> dict[str, Any]:
    """Median and 99th percentile in milliseconds, and of how many."""
    values = 1000 * np.array(list(seconds))  # a copy at once: another thread may add to them
    if not len(values):
        return {"count": 0, "p50": None, "p99": None}
    p50, p99 = (round(float(value), 1) for value in np.quantile(values, [0.5, 0.99], method="higher"))
    return {"count": len(values), "p50": p50, "p99": p99}


def pause(times: int, longest: float | None = None) -> float:
    """Seconds before the next try, scattered, so that many lines do not all come at once."""
    return min(longest or _LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(times, 20)) * random.uniform(0.5, 1.0)
