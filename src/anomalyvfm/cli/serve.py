"""`anomalyvfm serve`: the inspection station."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from anomalyvfm.cli.options import PATH, common, weights_moved
from anomalyvfm.errors import InputError
from anomalyvfm.server.settings import Limits, Retention, Settings

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector


_POSITIVE = click.FloatRange(0, min_open=True)
Command = TypeVar("Command", bound=Callable[..., None])


def _networks(_: click.Context, option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(address)) for address in given)
    except ValueError as error:
        raise click.BadParameter(f"{error}; give an address or a network such as 10.0.0.0/24") from None


def station_data(command: Command) -> Command:
    """The options of where a station is: ``data`` and ``db``."""
    data = click.option(
        "--data", type=PATH, default=Path("station"), show_default=True, help="What the station keeps."
    )
    db = click.option(
        "--db", metavar="URL", help="sqlite:///… or postgresql://…  [default: SQLite in --data]"
    )
    return data(db(command))


def require_extra() -> None:
    """Raise InputError where what a station needs is not installed."""
    needed = ("fastapi", "uvicorn", "sqlalchemy", "alembic")
    if missing := [name for name in needed if find_spec(name) is None]:
        raise InputError(f"this needs {', '.join(missing)}; pip install 'anomalyvfm[serve]'")


def station_settings(command: Command) -> Command:
    """The options of a station; the command gets them as one argument, ``settings``."""

    @station_data
    @click.option("--token-file", type=PATH, help="Who may come in; needed for any address but loopback.")
    @click.option(
        "--proxy",
        "proxies",
        multiple=True,
        metavar="ADDRESS",
        callback=_networks,
        help="A proxy in front, or a network of such: X-Forwarded-For and -Proto are believed from it.",
    )
    @click.option("--keep-days", type=_POSITIVE, help="Delete parts older than this.")
    @click.option("--keep-gb", type=_POSITIVE, help="Delete the oldest parts beyond this.")
    @click.option("--keep-log-days", type=_POSITIVE, help="Delete entries of the audit log older than this.")
    @click.option(
        "--queue", default=64, show_default=True, type=click.IntRange(1), help="Images that may wait."
    )
    @click.option(
        "--max-pixels",
        default=64_000_000,
        show_default=True,
        type=click.IntRange(1),
        help="Width × height of the largest image taken.",
    )
    @click.option(
        "--max-image-mb",
        default=32.0,
        show_default=True,
        type=_POSITIVE,
        help="Megabytes of the largest file taken.",
    )
    @click.option(
        "--time-limit",
        default=30.0,
        show_default=True,
        type=click.FloatRange(0.1),
        help="Seconds a request may take.",
    )
    @wraps(command)
    def with_settings(
        *,
        data: Path,
        db: str | None,
        token_file: Path | None,
        proxies: tuple[str, ...],
        keep_days: float | None,
        keep_gb: float | None,
        keep_log_days: float | None,
        queue: int,
        max_pixels: int,
        max_image_mb: float,
        time_limit: float,
        **others: Any,
    ) -> None:
        limits = Limits(waiting=queue, seconds=time_limit)
        settings = Settings(
            data=data,
            database=db,
            token_file=token_file,
            proxies=proxies,
            limits=limits.for_images(max_pixels, int(max_image_mb * 2**20)),
            retention=Retention(keep_days, None if keep_gb is None else int(keep_gb * 1e9), keep_log_days),
        )
        command(settings=settings, **others)

    return cast(Command, with_settings)


@click.command()
@click.argument("models", nargs=-1, type=PATH)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to answer at.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@station_settings
@click.option(
    "--new-token",
    metavar="NAME:ROLE[:DAYS]",
    help="Add a token to --token-file, print it, and end. Roles: operator, engineer, admin.",
)
@weights_moved
@common
def serve(
    models: tuple[Path, ...],
    host: str,
    port: int,
    settings: Settings,
    new_token: str | None,
    backbone: str | None,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Judge images over HTTP with MODELS (folders), keep what was judged, and learn from review.

    Models given once are kept in --data with all their versions, and need not be named again.
    """
    if new_token is not None:
        if settings.token_file is None:
            raise click.UsageError("--new-token goes with --token-file.")
        click.echo(_add_token(settings.token_file, new_token))
        return
    require_extra()
    from anomalyvfm.server.app import create_app, create_gate
    from anomalyvfm.server.serving import bind, is_loopback
    from anomalyvfm.server.serving import serve as answer

    if settings.token_file is None and not is_loopback(host):
        raise InputError(
            f"--host {host}: others can reach it, so tokens are needed; make one by"
            " `anomalyvfm serve --token-file FILE --new-token NAME:ROLE`"
        )
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

    answer(create_app(station, gate), station, address, ready)


def _add_token(path: Path, wanted: str) -> str:
    from anomalyvfm.server.auth.accounts import add_account

    name, _, rest = wanted.partition(":")
    role, _, days = rest.partition(":")
    try:
        lasting = float(days) if days else None
    except ValueError:
        raise InputError(f"--new-token {wanted}: write it as NAME:ROLE or NAME:ROLE:DAYS") from None
    return add_account(path, name, role, lasting)
