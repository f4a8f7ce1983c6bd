"""Where a command's work is done: in this process, or by many workers on Ray, and how far these are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from anomalyvfm.errors import InputError

if TYPE_CHECKING:
    from anomalyvfm.cluster.progress import Progress as Done
    from anomalyvfm.cluster.workers import Cluster

_Command = TypeVar("_Command", bound=Callable[..., Any])

# Where nobody watches, a line so often.
_SECONDS_A_LINE = 30.0
# Characters: beside it, the words fit on 80.
_BAR = 20
# So many workers are named; of more the slowest and the fastest are told.
_NAMED = 4


def engine_options(command: _Command) -> _Command:
    """Where the work is done, if not in this process."""
    for option in (
        click.option(
            "--address", help="With ray: of a cluster that runs, HOST:PORT.  [default: $RAY_ADDRESS]"
        ),
        click.option(
            "--workers",
            type=click.IntRange(1),
            help="With ray: how many.  [default: one for each CPU, or GPU where these are used]",
        ),
        click.option(
            "--engine",
            default="local",
            show_default=True,
            type=click.Choice(["local", "ray"]),
            help="ray: by many workers, on one machine or many.",
        ),
    ):
        command = option(command)
    return command


def given_cluster(engine: str, workers: int | None, address: str | None) -> Cluster | None:
    """What `engine_options` say; None where the work is done here. Raises InputError."""
    if engine == "ray":
        from anomalyvfm.cluster.workers import Cluster

        return Cluster(address, workers)
    for name, value in (("--workers", workers), ("--address", address)):
        if value is not None:
            raise InputError(f"{name}: of workers on Ray; add --engine ray, or leave it out")
    return None


def parts_folder(out: Path) -> Path:
    """Where workers leave what is to become ``out``."""
    return out.with_name(f"{out.name}.parts")


@contextmanager
def shown(what: str) -> Iterator[Callable[[Done], None]]:
    """What tells people on stderr how far the workers are: a bar on a terminal, else a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = TextColumn(what), BarColumn(_BAR), TextColumn("{task.description}")
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("starting workers", total=None)
        told = time.monotonic()

        def listen(done: Done) -> None:
            nonlocal told
            workers = _workers(done)
            if not console.is_terminal:
                if time.monotonic() - told >= _SECONDS_A_LINE:
                    told = time.monotonic()
                    click.echo(f"{what}: {', '.join(filter(None, (_total(done), workers)))}", err=True)
            elif workers:
                text = f"{_total(done)}\n{workers}"
                progress.update(bar, total=done.images, completed=done.count, description=text)

        yield listen


def _total(done: Done) -> str:
    """How far all are together, and when they will be done."""
    text = f"{done.count:,} of {done.images:,} images"
    if done.count:
        text += f", {done.rate:.1f}/s"
    left = done.seconds_left
    return text if left is None else f"{text}, {_duration(left)} left"


def _workers(done: Done) -> str:
    """How fast each is, or of many the slowest and the fastest; nothing where none has come to be."""
    rates = sorted(done.rates().items(), key=lambda one: one[1])
    lost = f", {len(done.lost)} lost" if done.lost else ""
    if len(rates) > _NAMED:
        (slowest, least), (_, most) = rates[0], rates[-1]
        return f"{len(rates)} workers of {least:.1f} to {most:.1f}/s, {slowest} the slowest{lost}"
    return ", ".join(f"{name} {rate:.1f}/s" for name, rate in sorted(rates)) + (lost if rates else "")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def summary(of: dict[str, Any]) -> str:
    """What became of the work, in a line or a few."""
    counted = of["images"] - of["images_before"]
    workers, parts = (
        f"{count} {word}{'s' * (count != 1)}"
        for count, word in ((len(of["workers"]), "worker"), (of["parts"], "part"))
    )
    lines = [f"{workers}: {counted:,} images in {parts} in {of['seconds']:.1f} s"]
    if before := of["images_before"]:
        lines[0] += f", {before:,} were there from before"
    if lost := of["workers_lost"]:
        lines[0] += f"; {len(lost)} died, and what they were at was done anew"
    for name, one in of["workers"].items():
        if one["images_per_second"] is not None and len(of["workers"]) <= _NAMED:
            lines.append(f"  {name}: {one['images']:,} images, {one['images_per_second']:.1f}/s")
    slow = of["stragglers"][:_NAMED]
    for one in slow:
        each = one["seconds"] / one["images"]
        lines.append(
            f"  slow: {one['task']} on {one['worker']}, {one['seconds']:.1f} s, {each:.2f} s an image"
        )
    return "\n".join(lines)
