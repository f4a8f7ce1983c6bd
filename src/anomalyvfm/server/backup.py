"""A station's backup, taken while it runs, and a station from a backup.

A backup is a folder: a SQLite file with all rows, whatever the station's own database is, ``files/`` and
``models/`` as in the station's folder, and ``backup.json``, which seals it. Rows are read as they are at one
moment, and what they name is copied after that, while nothing is deleted. Neither tokens nor the key of
sessions are in it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from anomalyvfm.errors import InputError
from anomalyvfm.sealed import check_digest, digest, read_sealed, write_sealed
from anomalyvfm.server.settings import Settings
from anomalyvfm.server.store import identity, retention
from anomalyvfm.server.store.copying import copy_rows
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.deletions import Deletions
from anomalyvfm.server.store.files import Files, sync_folder
from anomalyvfm.server.store.tables import ModelRow, VersionRow
from anomalyvfm.version import __version__

_DOCUMENT = "backup.json"
_SCHEMA = 1
_PREFIXES = [f"{number:02x}" for number in range(256)]
_UNFINISHED = "unfinished"
_DATABASE = re.compile(r"station-[0-9a-f]{8}\.sqlite3")
_VERSION_FILE = re.compile(r"[A-Za-z0-9][\w.-]*/[0-9a-f]{32}(\.calibration)?/\.?[a-z]+\.[a-z]+", re.ASCII)
_REMEDY = "take the backup again, or restore an older one"


@dataclass(frozen=True)
class Copied:
    """What is in a backup, or came out of it."""

    rows: int
    files: int
    """Images, maps and good images."""
    version_files: int
    new_bytes: int
    """Of files that were not there before."""
    seconds: float


def back_up(settings: Settings, to: Path) -> Copied:
    """Copy a station, which may be running, to a new folder, or let its earlier backup there follow it.

    A backup that is cut off leaves the earlier one as good as it was. Raises InputError where there is no
    such station, its database is of another AnomalyVFM, or ``out`` cannot be written or holds anything else.
    """
    started = time.perf_counter()
    data = settings.data
    with _one_line(to, "free its disk or choose another --out"):
        station = identity.of_station(data)
        with closing(Database(settings.database_url, migrate=False)) as source:
            identity.check_pair(data, source)
            earlier = _earlier(to, station)
            to.mkdir(parents=True, exist_ok=True)
            (to / _UNFINISHED).touch()
            with Deletions(data).halted():
                database = to / f"station-{uuid4().hex[:8]}.sqlite3"
                counts = _copy_database(source, database)
                with closing(Database(f"sqlite:///{database}", migrate=False)) as copy:
                    files, new, others = _copy_files(data / "files", to / "files", copy)
                    sums, more = _copy_versions(data / "models", to / "models", copy, earlier)
            _to_one_file(database)
            os.sync()  # one for all: there may be a hundred thousand files
            document = {
                "schema_version": _SCHEMA,
                "anomalyvfm_version": __version__,
                "station": station,
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "rows": counts,
                "files": files,
                "database": database.name,
                "database_sha256": digest(database),
                "version_files": sums,
            }
            partial = to / f"{_DOCUMENT}.partial"
            write_sealed(partial, document)
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
            partial.replace(to / _DOCUMENT)
            sync_folder(to)
        _remove_others(to, document, others)
        (to / _UNFINISHED).unlink()
    return Copied(sum(counts.values()), files, len(sums), new + more, time.perf_counter() - started)


def restore(backup: Path, settings: Settings) -> Copied:
    """Make a station of a backup, in a new folder and an empty database of either kind.

    It gets an id of its own, so that neither goes with the other half of the station it comes from. Every
    byte is compared with its hash. One that is cut off can be started again. Raises InputError where the
    backup is not whole, or folder or database are in use.
    """
    started = time.perf_counter()
    data = settings.data
    try:
        document = read_sealed(backup / _DOCUMENT, range(1, _SCHEMA + 1), "a backup", _REMEDY)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{backup}: no backup here ({_DOCUMENT} is missing)") from None
    _check_names(document)
    database = backup / document["database"]
    check_digest(database, document["database_sha256"], _REMEDY)
    with _one_line(data, "free its disk or choose another --data"):
        if data.is_dir() and any(data.iterdir()) and not (data / _UNFINISHED).exists():
            raise InputError(f"{data}: is not empty; restore to a new --data")
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        (data / _UNFINISHED).touch()
        _check_empty(settings)
        work = data / "backup.sqlite3"  # opened for writing, as SQLite does, and a backup is only read
        shutil.copyfile(database, work)
        with closing(Database(f"sqlite:///{work}")) as source:  # brought to today's schema
            files, new, _ = _copy_files(backup / "files", data / "files", source)
            more = _put_versions(backup, data, document["version_files"])
            os.sync()
            with closing(Database(settings.database_url)) as target:
                with source.snapshot() as rows, target.writing() as session:
                    counts = copy_rows(rows, session.connection())
                identity.identify(data, target)
        _remove_database(work)
        (data / _UNFINISHED).unlink()
    version_files = len(document["version_files"])
    return Copied(sum(counts.values()), files, version_files, new + more, time.perf_counter() - started)


def _earlier(to: Path, station: str) -> Mapping[str, str]:
    """The hashes of files of versions in an earlier backup of the same station."""
    if not (to / _DOCUMENT).exists():
        if to.exists() and not to.is_dir():
            raise InputError(f"{to}: is a file; choose another --out")
        if to.is_dir() and any(to.iterdir()) and not (to / _UNFINISHED).exists():
            raise InputError(f"{to}: holds something else than a backup; choose another --out")
        return {}
    body = read_sealed(to / _DOCUMENT, range(1, _SCHEMA + 1), "a backup", "choose another --out")
    if body["station"] != station:
        raise InputError(f"{to}: is the backup of station {body['station']}; choose another --out")
    found: dict[str, str] = body["version_files"]
    return found


def _copy_database(source: Database, path: Path) -> dict[str, int]:
    with (
        closing(Database(f"sqlite:///{path}")) as target,
        source.snapshot() as rows,
        target.writing() as session,
    ):
        return copy_rows(rows, session.connection())


def _copy_files(source: Path, target: Path, database: Database) -> tuple[int, int, list[Path]]:
    """Copy what rows name and ``target`` has not, and check it by its name.

    Returns how many there are, the bytes that are new, and what else ``target`` has.
    """
    here, there = Files(source), Files(target)
    count = new = 0
    others: list[Path] = []
    for prefix in _PREFIXES:
        names = retention.named(database, prefix)
        count += len(names)
        (target / prefix).mkdir(exist_ok=True)
        others += [path for path in (target / prefix).iterdir() if path.name not in names]
        for name in sorted(names):
            place = there.path(name)
            if place.exists():
                continue
            try:
                content = here.read(name)
            except FileNotFoundError:
                raise InputError(f"{here.path(name)}: is missing; {_REMEDY}") from None
            if hashlib.sha256(content).hexdigest() != name:
                raise InputError(f"{here.path(name)}: changed since it was written; {_REMEDY}")
            partial = place.with_name(f"{name}.partial")
            partial.write_bytes(content)
            partial.replace(place)
            new += len(content)
    return count, new, others


def _copy_versions(
    source: Path, target: Path, database: Database, earlier: Mapping[str, str]
) -> tuple[dict[str, str], int]:
    """Copy the whole copies and calibrations that there are; each file's hash by its path, and new bytes."""
    sums: dict[str, str] = {}
    new = 0
    with database.reading() as session:
        kept = {(row.model, row.folder) for row in session.scalars(select(VersionRow)) if row.folder}
    for folder in sorted(source.glob("*/*")):
        name = folder.name.partition(".")[0]
        if (folder.parent.name, name) not in kept or folder.name.endswith(".partial"):
            continue
        place = target / folder.parent.name / folder.name
        if not place.exists():
            partial = place.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(folder, partial)
            partial.rename(place)
            new += sum(path.stat().st_size for path in place.iterdir())
        for path in sorted(place.iterdir()):
            shown = path.relative_to(target).as_posix()
            sums[shown] = earlier.get(shown) or digest(path)
    return sums, new


def _check_names(document: Mapping[str, Any]) -> None:
    """Raise InputError where a name in a backup leads out of it."""
    named = [*document["version_files"]]
    if not _DATABASE.fullmatch(document["database"]) or not all(map(_VERSION_FILE.fullmatch, named)):
        raise InputError(f"{_DOCUMENT}: names files that no backup has; {_REMEDY}")


def _put_versions(backup: Path, data: Path, sums: Mapping[str, str]) -> int:
    new = 0
    for shown, expected in sums.items():
        source, place = backup / "models" / shown, data / "models" / shown
        check_digest(source, expected, _REMEDY)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
        new += place.stat().st_size
    return new


def _remove_others(to: Path, document: Mapping[str, Any], files: Sequence[Path]) -> None:
    """Remove what only an earlier backup had, and what one that was cut off has left."""
    for path in (*files, *to.glob("station-*.sqlite3*")):
        if path.name != document["database"]:
            path.unlink(missing_ok=True)
    kept = {Path(shown).parent for shown in document["version_files"]}
    for folder in (to / "models").glob("*/*"):
        if folder.relative_to(to / "models") not in kept:
            shutil.rmtree(folder)


def _to_one_file(path: Path) -> None:
    """Leave nothing of a SQLite database beside its file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


def _remove_database(path: Path) -> None:
    for one in path.parent.glob(f"{path.name}*"):
        one.unlink()


def _check_empty(settings: Settings) -> None:
    with closing(Database(settings.database_url)) as database, database.reading() as session:
        if session.scalar(select(ModelRow.name).limit(1)) is not None:
            raise InputError("the database is a station's already; restore to another --db")


@contextmanager
def _one_line(place: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or place
        raise InputError(f"{where}: {error.strerror or error}; {remedy}") from None
    except (DBAPIError, sqlite3.Error) as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        raise InputError(f"{place}: the database failed ({reason}); {remedy}") from None
