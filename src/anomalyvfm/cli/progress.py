"""Progress bars on stderr, so that stdout stays the result's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


def bar(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    """Pass ``items`` on, showing how many of ``total`` have gone by; silent where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield from progress.track(items, total=total, description=description)


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """A line that says what is being done, for work that reports names instead of counts."""
    with Console(stderr=True).status(text) as shown:
        yield lambda name: shown.update(f"{text} {name}")
