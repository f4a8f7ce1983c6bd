"""`anomalyvfm backup` and `anomalyvfm restore`: a running station's copy, and a station from one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomalyvfm.cli.config_file import ENVIRONMENT, config_file
from anomalyvfm.cli.options import PATH, common
from anomalyvfm.cli.station_options import require_extra, station_data

if TYPE_CHECKING:
    from anomalyvfm.server.backup import Copied


@click.command(context_settings=ENVIRONMENT)
@config_file()
@station_data
@click.option(
    "--out", required=True, type=PATH, help="A new folder, or an earlier backup of this station to renew."
)
@common
def backup(data: Path, db: str | None, out: Path, as_json: bool, device: str, seed: int) -> None:
    """Copy a station, which may be running, as it is at one moment.

    Into a folder that holds an earlier backup only what is new is copied, and what the station no longer
    keeps goes.
    """
    require_extra()
    from anomalyvfm.server.backup import back_up
    from anomalyvfm.server.settings import Settings

    _print(f"backup in {out}", back_up(Settings(data, db), out), as_json)


@click.command(context_settings=ENVIRONMENT)
@config_file()
@click.argument("backup", type=PATH)
@station_data
@common
def restore(backup: Path, data: Path, db: str | None, as_json: bool, device: str, seed: int) -> None:
    """Make a station of BACKUP in a new --data and an empty --db, and compare every byte with its hash.

    SQLite or PostgreSQL, whichever the station had.
    """
    require_extra()
    from anomalyvfm.server.backup import restore as restore_to
    from anomalyvfm.server.settings import Settings

    _print(f"restored to {data}", restore_to(backup, Settings(data, db)), as_json)


def _print(what: str, copied: Copied, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(copied)))
        return
    click.echo(
        f"{what}: {copied.rows} rows, {copied.files} images and maps, {copied.version_files} files of"
        f" versions; {copied.new_bytes / 1e6:.1f} MB copied in {copied.seconds:.1f} s"
    )
