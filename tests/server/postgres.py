"""A PostgreSQL server of the machine's own packages, for as long as the tests run."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, or None where PostgreSQL is not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@contextmanager
def server(bin_: Path) -> Iterator[str]:
    """The folder of its socket; the superuser is postgres, and nobody else can reach it."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if "user" in _owner():
        os.chown(folder, _owner()["user"], _owner()["group"])
    _run(bin_ / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
    control(bin_, str(folder), "start")
    try:
        yield str(folder)
    finally:
        control(bin_, str(folder), "stop")
        shutil.rmtree(folder, ignore_errors=True)


def control(bin_: Path, folder: str, action: str) -> None:
    """Start or stop the server of a folder, at once."""
    how = (
        ["-o", f"-c listen_addresses='' -c fsync=off -k {folder}"]
        if action == "start"
        else ["-m", "immediate"]
    )
    _run(bin_ / "pg_ctl", "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", *how, action)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, cwd="/", **_owner())


def _owner() -> dict[str, Any]:
    """Whom the server belongs to: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    owner = pwd.getpwnam("postgres")
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def new_database(socket_folder: str) -> str:
    """The URL of an empty database."""
    import psycopg

    name = f"t{uuid4().hex}"
    with psycopg.connect(
        host=socket_folder, user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://postgres@/{name}?host={socket_folder}"
