"""The database by URL: SQLite in WAL mode or PostgreSQL, brought to the newest schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import Session

from anomalyvfm.errors import InputError

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_SECONDS = 5


class Database:
    """Sessions that read, and sessions that write and commit as one."""

    def __init__(self, url: str, migrate: bool = True) -> None:
        """Without ``migrate`` the schema must be today's: the database is another process's."""
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            elif parsed.get_backend_name() != "sqlite":
                raise InputError(f"--db {url}: give a URL of sqlite:/// or postgresql://")
            sqlite = parsed.get_backend_name() == "sqlite"
            self._engine = create_engine(
                parsed,
                pool_pre_ping=not sqlite,
                connect_args={"timeout": _BUSY_SECONDS} if sqlite else {"connect_timeout": _BUSY_SECONDS},
                pool_timeout=_BUSY_SECONDS,
            )
        except (ArgumentError, NoSuchModuleError) as error:
            raise InputError(f"--db {url}: no database URL ({error})") from None
        if sqlite:
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        if sqlite and not migrate and not Path(parsed.database or "").is_file():
            raise InputError(f"--db {url}: there is no such database; give the --db that is used")
        self._writing = self._engine.execution_options(writing=True)
        try:
            if migrate:
                self._migrate()
            elif (found := self._revision()) != _newest_revision():
                older = "no station's yet" if found is None else "of another AnomalyVFM"
                where = parsed.render_as_string(hide_password=True)
                raise InputError(f"{where}: is {older}; give the --db of a station of this version")
        except DBAPIError as error:
            where = parsed.render_as_string(hide_password=True)
            reason = " ".join(str(error.orig).split())
            raise InputError(
                f"{where}: no usable database ({reason}); start it, free its disk or check --db"
            ) from None
        except CommandError:
            where = parsed.render_as_string(hide_password=True)
            raise InputError(
                f"{where}: a database of a newer AnomalyVFM; upgrade, or give the --db of this one"
            ) from None

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with Session(self._engine) as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Reads everything as it is at one moment, whatever is written meanwhile."""
        sqlite = self._engine.dialect.name == "sqlite"  # there every transaction is that
        engine = self._engine if sqlite else self._engine.execution_options(isolation_level="REPEATABLE READ")
        with engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Committed at the end of the block as one, or not at all."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def check(self) -> None:
        """Raise what SQLAlchemy raises where the database does not answer."""
        with self.reading() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        self._engine.dispose()

    def _migrate(self) -> None:
        config = _migrations()
        with self._writing.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def _revision(self) -> str | None:
        with self._engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _newest_revision() -> str | None:
    return ScriptDirectory.from_config(_migrations()).get_current_head()


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the driver's own transactions begin too late to be of use
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # an answer is only given for what survives a power cut
        "foreign_keys=ON",
        f"busy_timeout={_BUSY_SECONDS * 1000}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and then writes fails at once where another wrote in between; one that
    # says from the start that it will write waits for its turn.
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
