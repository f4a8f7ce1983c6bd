"""`anomalyvfm watch`: a folder as the line fills it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalyvfm.cli.config_file import ENVIRONMENT, config_file, tables_of
from anomalyvfm.cli.options import PATH, common, is_model, report, weights_moved
from anomalyvfm.errors import InputError
from anomalyvfm.line import WATCH_TABLES

if TYPE_CHECKING:
    from anomalyvfm.line.filing import Then
    from anomalyvfm.line.watching import Overlays


@click.command(context_settings=ENVIRONMENT)
@config_file(WATCH_TABLES)
@click.argument("model", type=PATH)
@click.argument("folder", type=PATH)
@click.option("--out", type=PATH, required=True, help="Results and the ledger; gone on with if it is there.")
@click.option(
    "--then",
    default="leave",
    show_default=True,
    type=click.Choice(["leave", "move"]),
    help="What becomes of judged images: they stay, or go to --out.",
)
@click.option(
    "--maps",
    default="anomalous",
    show_default=True,
    type=click.Choice(["all", "anomalous", "none"]),
    help="Of which images an overlay is written, a JPEG.",
)
@click.option(
    "--settle",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds a file must lie unchanged, where the system cannot tell whether it is still being written.",
)
@click.option(
    "--poll",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0.001),
    help="Seconds between two looks at the folder, at least.",
)
@click.option("--once", is_flag=True, help="End when all that lies there is judged and told.")
@click.option(
    "--false-alarm-rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of good images to be rejected at most.  [default: the model's]",
)
@weights_moved
@common
def watch(
    model: Path,
    folder: Path,
    out: Path,
    then: Then,
    maps: Overlays,
    settle: float,
    poll: float,
    once: bool,
    false_alarm_rate: float | None,
    backbone: str | None,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Judge with MODEL each image that comes into FOLDER, once; write results to --out and tell the sinks.

    Sub-folders are lots. The sinks (webhooks, MQTT), the fields of each part and the ingest gate are tables
    of the TOML file that --config names; docs/line.md has them. Stopped or killed, it goes on where it was.
    """
    from anomalyvfm.cli.predict import load_judge
    from anomalyvfm.data.freed_memory import all_there_is_stays
    from anomalyvfm.files import check_apart, locked
    from anomalyvfm.line.folder import asking_for_leases
    from anomalyvfm.line.settings import LineSettings
    from anomalyvfm.line.watching import Watch, WatchSettings

    if not is_model(model) and is_model(folder):
        raise InputError(f"{model}: no model, but {folder} is one; name the model first, then the folder")
    check_apart(out, folder, model)
    context = click.get_current_context()
    line = LineSettings(*tables_of(context))
    context.with_resource(locked(out))
    _open(out)
    detector, sha256 = load_judge(model, backbone, device, {}, false_alarm_rate)
    settings = WatchSettings(
        folder=folder.resolve(),
        out=out.resolve(),
        line=line,
        model={"name": model.resolve().name, "sha256": sha256},
        maps=maps,
        then=then,
        settle=settle,
        poll=poll,
        once=once,
    )
    watched = Watch(detector, settings)
    watched.states.listen(_say)
    with asking_for_leases(), all_there_is_stays(), _stopping(watched.stop):
        click.echo(f"watching {folder}", err=True)
        done = watched.run(_tell)
    report(as_json, {"out": str(out), **done}, lambda: _print(out, done))


def _open(out: Path) -> None:
    """Make the folder of results, or find one to go on with. Raises InputError."""
    from anomalyvfm.files import unwritable
    from anomalyvfm.line.ledger import LEDGER

    try:
        out.mkdir(parents=True, exist_ok=True)
        if not (out / LEDGER).exists() and any(out.iterdir()):
            raise InputError(f"{out}: holds files and no ledger to go on with; choose another --out")
    except OSError as error:
        raise unwritable(out, error) from None


@contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Have SIGTERM and Ctrl-C stop what is within, which then ends in its own time."""
    sent = signal.SIGTERM, signal.SIGINT
    earlier = [signal.signal(number, lambda *_: stop()) for number in sent]
    try:
        yield
    finally:
        for number, handler in zip(sent, earlier, strict=True):
            signal.signal(number, handler)


def _tell(message: Mapping[str, Any]) -> None:
    """A line for each part that is not good."""
    if message["outcome"] == "anomalous":
        click.echo(f"anomalous {message['path']} score {message['score']:.3f}", err=True)
    elif message["outcome"] == "refused":
        click.echo(f"refused {message['path']} {message['error']}", err=True)


def _say(name: str, trouble: str | None) -> None:
    click.echo(f"{name}: {trouble or 'works again'}", err=True)


def _print(out: Path, done: Mapping[str, Any]) -> None:
    judged = done["judged"]
    click.echo(
        f"{sum(judged.values())} judged, {judged['anomalous']} anomalous, {judged['refused']} refused → {out}"
    )
    if done["ms"]["count"]:
        click.echo(f"from file to verdict {done['ms']['p50']:g} ms, p99 {done['ms']['p99']:g} ms")
    for name, sink in done["sinks"].items():
        waiting = f", {sink['waiting']} wait for the next run" if sink["waiting"] else ""
        times = f", p99 {sink['ms']['p99']:g} ms after the file" if sink["ms"]["count"] else ""
        click.echo(f"{name}: {sink['delivered']} told{times}{waiting}")
