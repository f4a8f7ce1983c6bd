"""`anomalyvfm serve`: the inspection station."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomalyvfm.cli.config_file import ENVIRONMENT, config_file, tables_of
from anomalyvfm.cli.options import PATH, common, weights_moved
from anomalyvfm.cli.station_options import require_extra, station_settings
from anomalyvfm.errors import InputError
from anomalyvfm.line import TABLES
from anomalyvfm.server import logs
from anomalyvfm.server.settings import Settings

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector


@click.command(context_settings=ENVIRONMENT)
@config_file(TABLES)
@click.argument("models", nargs=-1, type=PATH)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to answer at.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@station_settings
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Of the lines on stderr.",
)
@click.option("--log-level", type=click.Choice(logs.LEVELS), default="warning", show_default=True)
@click.option(
    "--otlp", metavar="URL", help="Send OpenTelemetry traces to this collector, as http://localhost:4318."
)
@click.option(
    "--new-token",
    metavar="NAME:ROLE[:DAYS]",
    help="Add a token to --token-file, print it, and end. Roles: operator, engineer, admin.",
)
@click.option(
    "--new-pin",
    metavar="NAME[:DAYS]",
    help="Add an operator who signs in by name and PIN, print the PIN, and end.",
)
@weights_moved
@common
def serve(
    models: tuple[Path, ...],
    host: str,
    port: int,
    settings: Settings,
    log_format: str,
    log_level: str,
    otlp: str | None,
    new_token: str | None,
    new_pin: str | None,
    backbone: str | None,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Judge images over HTTP with MODELS (folders), keep what was judged, and learn from review.

    Models given once are kept in --data with all their versions, and need not be named again. Every option
    can also come from the environment (ANOMALYVFM_PORT for --port) or from --config: a database's password
    does not belong on a command line, which every user of the machine can read.
    """
    if new_token is not None or new_pin is not None:
        if settings.token_file is None:
            raise click.UsageError("--new-token and --new-pin go with --token-file.")
        if new_token is not None:
            click.echo(_add_token(settings.token_file, new_token))
        if new_pin is not None:
            click.echo(_add_pin(settings.token_file, new_pin))
        return
    require_extra()
    from anomalyvfm.data.freed_memory import all_there_is_stays
    from anomalyvfm.line.folder import asking_for_leases
    from anomalyvfm.line.settings import LineSettings

    settings = replace(settings, line=LineSettings(*tables_of(click.get_current_context())))
    logs.configure(log_format == "json", log_level)
    from anomalyvfm.server import tracing
    from anomalyvfm.server.app import create_app, create_gate
    from anomalyvfm.server.serving import bind, is_loopback
    from anomalyvfm.server.serving import serve as answer

    if settings.token_file is None and not is_loopback(host):
        raise InputError(
            f"--host {host}: others can reach it, so tokens are needed; make one by"
            " `anomalyvfm serve --token-file FILE --new-token NAME:ROLE`"
        )
    if otlp is not None:
        tracing.check()
    # What can be wrong is asked before anything takes long.
    gate = create_gate(settings)
    address = bind(host, port)
    from anomalyvfm.server.station import Station

    def load(folder: Path) -> Detector:
        from anomalyvfm.detector import Detector

        return Detector.load(folder, backbone=backbone, device=device)

    station = Station(settings, models, load)
    if settings.token_file is None:
        click.echo("warning: no --token-file: whoever uses this machine may do everything", err=True)

    def ready(port: int) -> None:
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        names = station.registry.names()
        click.echo(json.dumps({"url": url, "models": names}) if as_json else f"serving {url}")

    app = create_app(station, gate)
    with ExitStack() as while_serving:
        while_serving.enter_context(asking_for_leases())
        while_serving.enter_context(all_there_is_stays())
        if otlp is not None:
            while_serving.callback(tracing.trace(app, station, otlp))
        answer(app, station, address, ready)


def _add_token(path: Path, wanted: str) -> str:
    from anomalyvfm.server.auth.accounts import add_account

    name, _, rest = wanted.partition(":")
    role, _, days = rest.partition(":")
    return add_account(path, name, role, _days(days, f"--new-token {wanted}", "NAME:ROLE or NAME:ROLE:DAYS"))


def _add_pin(path: Path, wanted: str) -> str:
    from anomalyvfm.server.auth.accounts import add_pin

    name, _, days = wanted.partition(":")
    return add_pin(path, name, _days(days, f"--new-pin {wanted}", "NAME or NAME:DAYS"))


def _days(text: str, option: str, form: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise InputError(f"{option}: write it as {form}") from None
