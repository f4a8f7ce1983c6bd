"""The options of a station."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from anomalyvfm.cli.options import PATH
from anomalyvfm.errors import InputError
from anomalyvfm.server.settings import Limits, Retention, Settings

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
        multiple=True,
        metavar="ADDRESS",
        callback=_networks,
        help="A proxy in front, or a network of such: X-Forwarded-For and -Proto are believed from it.",
    )
    @click.option(
        "--timezone", metavar="ZONE", help="Of the site's days, as Europe/Berlin.  [default: the machine's]"
    )
    @click.option("--keep-days", type=_POSITIVE, help="Delete parts older than this.")
    @click.option("--keep-gb", type=_POSITIVE, help="Delete the oldest parts and versions beyond this.")
    @click.option(
        "--keep-versions",
        default=100,
        show_default=True,
        type=click.IntRange(1),
        help="Versions of each model that can be gone back to.",
    )
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
        proxy: tuple[str, ...],
        timezone: str | None,
        keep_days: float | None,
        keep_gb: float | None,
        keep_versions: int,
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
            proxies=proxy,
            timezone=timezone,
            limits=limits.for_images(max_pixels, int(max_image_mb * 2**20)),
            versions_kept=keep_versions,
            retention=Retention(keep_days, None if keep_gb is None else int(keep_gb * 1e9), keep_log_days),
        )
        command(settings=settings, **others)

    return cast(Command, with_settings)
