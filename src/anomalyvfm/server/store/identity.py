"""Which folder and which database are one station's.

Both hold its id. Over a folder of another, or over one that should be full and is empty, a database's rows
would name nothing that is there, and what is there would have no row: such a pair never opens.
"""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from anomalyvfm.errors import InputError
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import write_whole
from anomalyvfm.server.store.tables import ModelRow, StationRow, VersionRow

_FILE = "station.id"
_LENGTH = 32


def identify(data: Path, database: Database) -> str:
    """The id of the station in this folder and this database; a new station gets one.

    Raises InputError where the two do not belong together, OSError where the folder takes no file.
    """
    of_folder = _of_folder(data)
    with database.writing() as session:
        of_database = session.scalar(select(StationRow.id))
        if of_database is None or of_database != of_folder:
            _check(data, session, of_folder, of_database)
        # The folder first: a kill between the two leaves an id in a folder without anything else.
        identity = of_folder or of_database or uuid4().hex
        if of_folder is None:
            write_whole(data / _FILE, f"{identity}\n".encode())
        if of_database is None:
            session.add(StationRow(id=identity))
    return identity


def of_station(data: Path) -> str:
    """The id of the station in a folder. Raises InputError where there is none."""
    identity = _of_folder(data)
    if identity is None:
        raise InputError(f"{data}: holds no station; give the --data that `anomalyvfm serve` has")
    return identity


def check_pair(data: Path, database: Database) -> None:
    """Raise InputError where a folder's station and a database's are not the same."""
    of_folder = of_station(data)
    with database.reading() as session:
        of_database = session.scalar(select(StationRow.id))
    if of_database != of_folder:
        raise InputError(
            f"{data}: is of station {of_folder}, but the database is of station {of_database}; give the"
            " --data and the --db that go together"
        )


def _check(data: Path, session: Session, of_folder: str | None, of_database: str | None) -> None:
    """Let two of which one has no id through where both are new, or that one is older than ids are."""
    full = any(path for part in ("models", "files") for path in data.glob(f"{part}/*/*"))
    used = session.scalar(select(ModelRow.name).limit(1)) is not None
    known = f"the database is of station {of_database}" if of_database else "the database is in use"
    if of_folder and of_database:
        raise InputError(
            f"{data}: is of station {of_folder}, but {known}; give the --data and the --db that go together"
        )
    if used and not full:
        raise InputError(
            f"{data}: holds no station's files, but {known}: is it mounted? Give the --data it was used with,"
            " or another --db to begin anew"
        )
    if full and not used:
        own = f"is of station {of_folder}" if of_folder else "holds a station's files"
        raise InputError(
            f"{data}: {own}, but the database is new; give the --db it was used with, or another --data to"
            " begin anew"
        )
    # Names of versions' folders are drawn at random: one is proof enough.
    if full and not any((data / "models" / model / folder).is_dir() for model, folder in _versions(session)):
        raise InputError(
            f"{data}: holds none of the versions that the database names; give the --data and the --db that"
            " belong together"
        )


def _versions(session: Session) -> list[tuple[str, str]]:
    rows = session.execute(select(VersionRow.model, VersionRow.folder).where(VersionRow.folder != ""))
    return [(model, folder) for model, folder in rows]


def _of_folder(data: Path) -> str | None:
    path = data / _FILE
    try:
        with path.open("rb") as stream:
            content = stream.read(_LENGTH + 2).strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) != _LENGTH or not set(content) <= set(b"0123456789abcdef"):
        raise InputError(f"{path}: holds no station's id; put back the file as it was, from a backup")
    return content.decode()
