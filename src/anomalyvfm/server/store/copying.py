"""All rows of one database into another of either kind, as they are at one moment."""

from __future__ import annotations

from sqlalchemy import Connection, Table, func, insert, select, text

from anomalyvfm.server.store.tables import Base, StationRow

_A_TIME = 2000


def copy_rows(source: Connection, target: Connection) -> dict[str, int]:
    """Copy all tables but the station's id, and the numbers that are next; how many rows of each.

    ``target`` has the same tables, and they are empty.
    """
    counts = {}
    for table in Base.metadata.sorted_tables:
        if table is StationRow.__table__:
            continue
        counts[table.name] = 0
        found = source.execution_options(yield_per=_A_TIME).execute(select(table))
        for rows in found.mappings().partitions():
            target.execute(insert(table), [dict(row) for row in rows])
            counts[table.name] += len(rows)
        if "id" in table.columns:
            _give_next(target, table.name, _last_given(source, table))
    return counts


def _last_given(connection: Connection, table: Table) -> int:
    """The highest number given to a row, be it deleted or not: it is never given again."""
    highest = connection.scalar(select(func.max(table.c.id))) or 0
    if connection.dialect.name == "postgresql":
        sequence = connection.scalar(select(func.pg_get_serial_sequence(table.name, "id")))
        given = connection.scalar(text(f"SELECT last_value FROM {sequence} WHERE is_called"))
    else:
        numbers = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        given = connection.scalar(numbers, {"name": table.name})
    return max(highest, given or 0)


def _give_next(connection: Connection, table: str, last: int) -> None:
    if last == 0:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.setval(func.pg_get_serial_sequence(table, "id"), last)))
        return
    # Of a table without AUTOINCREMENT, SQLite asks for no row here.
    connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table})
    row = {"name": table, "last": last}
    connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), row)
