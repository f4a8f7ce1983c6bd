"""What every sink can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from anomalyvfm.line.messages import Message


class SinkDownError(Exception):
    """The sink takes nothing now. The message is one line: what is wrong, and where."""


@dataclass(frozen=True)
class Refusal:
    """The sink is there and did not take this message."""

    reason: str
    final: bool
    """Whether sending it again can change nothing."""


class Sink(Protocol):
    """Opened and used by one thread."""

    def send(self, messages: Sequence[Message]) -> Iterator[Refusal | None]:
        """Send messages in order; yield None for each that the other side has, or why it has not.

        Raises SinkDownError; what was not yielded is sent again.
        """

    def beat(self) -> None:
        """Asked every second while there is nothing to send. Raises SinkDownError where the sink is down."""

    def close(self) -> None: ...
