"""How long work tells of its progress, without knowing who listens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Tracker(Protocol):
    """Wraps batches to show progress: ``track(iterable, total, description)``."""

    def __call__(self, items: Iterable[T], total: int, description: str) -> Iterable[T]: ...


def untracked(items: Iterable[T], total: int, description: str) -> Iterable[T]:
    return items
