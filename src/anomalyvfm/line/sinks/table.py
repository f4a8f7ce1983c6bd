"""A file for each shift, with a row for each part, for whoever works with tables: CSV or Parquet.

CSV grows as parts come. Parquet can only be written whole: until the shift is over its messages lie beside
it, as ``….running.jsonl``. The last lines of a file tell which messages it has, so that one that is sent
again, for the note of it was lost, is not in it twice.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalyvfm.line.fields import FIELDS, Shifts, harmless
from anomalyvfm.line.growing import append, last_lines
from anomalyvfm.line.messages import Message
from anomalyvfm.line.sinks.sink import SinkDownError

if TYPE_CHECKING:
    from anomalyvfm.line.settings import TableSettings

COLUMNS = (
    *("id", "number", "at", "outcome", "path", *FIELDS, "model", "version"),
    *("score", "p_value", "promised", "light", "regions", "area", "ms", "sha256", "error"),
)
_RUNNING = ".running.jsonl"
_IS_OVER_SECONDS = 60.0
"""A shift's file is made when its messages have not grown for so long."""
_LOOK_SECONDS = 10.0
_ROWS_AT_ONCE = 1000


class ShiftTables:
    """The files of a folder, which must be there; Parquet needs pyarrow."""

    def __init__(self, settings: TableSettings, shifts: Shifts, zone: tzinfo | None = None) -> None:
        """``zone`` is the site's; None: that of the machine."""
        self._folder = settings.folder
        self._is_parquet = settings.format == "parquet"
        self._shifts = shifts
        self._zone = zone
        self._place: Path | None = None
        self._ids: set[str] = set()
        """Of the last messages in the file at ``_place``."""
        self._looked = 0.0

    def send(self, messages: Sequence[Message]) -> Iterator[None]:
        self.beat()
        for place, of_one in groupby(messages, self._place_of):
            of_this_shift = list(of_one)
            try:
                self._add(place, of_this_shift)
            except OSError as error:
                self._place = None  # looked at again, when it can be
                raise SinkDownError(f"{place}: {error.strerror or error}") from None
            except ValueError:
                self._place = None
                raise SinkDownError(f"{place}: its last lines are none of ours; move it away") from None
            yield from (None for _ in of_this_shift)

    def beat(self) -> None:
        if not self._folder.is_dir():
            raise SinkDownError(f"{self._folder}: no such folder; make it, or mount what belongs there")
        if self._is_parquet and time.monotonic() - self._looked > _LOOK_SECONDS:
            for running in self._over():
                _finish(running)
            self._looked = time.monotonic()

    def close(self) -> None:
        """What a shift under way has is gone on with by the next run."""

    def _place_of(self, message: Message) -> Path:
        at = datetime.fromisoformat(message.content["at"].replace("Z", "+00:00"))
        ((shift, begin, _),) = self._shifts.last(at.astimezone(self._zone), 1)
        name = begin.date().isoformat() + ("" if shift is None else "-" + re.sub(r"[^\w-]", "_", shift))
        return self._folder / (name + (_RUNNING if self._is_parquet else ".csv"))

    def _add(self, place: Path, messages: Sequence[Message]) -> None:
        if place != self._place:
            id_of = _id_of_json if self._is_parquet else _id_of_row
            self._ids = {id_of(line) for line in last_lines(place)}
            self._place = place
        new = [message for message in messages if message.id not in self._ids]
        if not new:
            return
        if self._is_parquet:
            content = "".join(message.body + "\n" for message in new)
        else:
            # Empty: new, or cut off within its header.
            is_new = not place.exists() or place.stat().st_size == 0
            content = _rows([row_of(message.content) for message in new], header=is_new)
        append(place, content.encode())
        self._ids = {message.id for message in messages}

    def _over(self) -> list[Path]:
        """Messages of shifts that are over: there is a later one, and nothing has come for a while."""
        ((_, begin, _),) = self._shifts.last(datetime.now().astimezone(self._zone), 1)
        quiet_since = min(begin.timestamp(), time.time() - _IS_OVER_SECONDS)
        return sorted(
            place for place in self._folder.glob("*" + _RUNNING) if place.stat().st_mtime < quiet_since
        )


def row_of(content: dict[str, Any]) -> dict[str, Any]:
    """A message's columns; of its regions their number and their area in pixels."""
    regions = content.get("regions")
    fields, model = content["fields"], content["model"]
    row = {name: content.get(name) for name in COLUMNS} | {name: fields.get(name) for name in FIELDS}
    row |= {"model": model.get("name"), "version": model.get("version")}
    if regions is not None:
        row |= {"regions": len(regions), "area": sum(region["area"] for region in regions)}
    return row


def _rows(rows: Sequence[dict[str, Any]], header: bool) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    if header:
        table.writerow(COLUMNS)
    for row in rows:
        table.writerow([harmless(_one_line(row[name])) for name in COLUMNS])
    return text.getvalue()


def _one_line(value: Any) -> Any:
    return " ".join(value.split()) if isinstance(value, str) else value


def _id_of_row(line: bytes) -> str:
    return line.split(b",", 1)[0].decode(errors="replace")


def _id_of_json(line: bytes) -> str:
    return str(json.loads(line)["id"])


def _finish(running: Path) -> None:
    """Make a shift's Parquet file of its messages, and of what it has if they come late."""
    import pyarrow as pa  # type: ignore[import-untyped]  # it has no type hints
    from pyarrow import parquet

    kinds = {
        **dict.fromkeys(("number", "version", "regions", "area"), pa.int64()),
        **dict.fromkeys(("score", "p_value", "light", "ms"), pa.float64()),
        "promised": pa.bool_(),
        "at": pa.timestamp("ms", tz="UTC"),
    }
    schema = pa.schema([(column, kinds.get(column, pa.string())) for column in COLUMNS])
    final = running.with_name(running.name.removesuffix(_RUNNING) + ".parquet")
    partial = running.with_name(f".{final.name}.partial")
    try:
        last_lines(running)  # what a process was killed in the middle of is cut off
        with parquet.ParquetWriter(partial, schema) as writer, running.open(encoding="utf-8") as lines:
            has: set[str] = set()
            if final.exists():
                with parquet.ParquetFile(final) as before:
                    for batch in before.iter_batches(_ROWS_AT_ONCE):
                        writer.write_table(pa.Table.from_pylist(batch.to_pylist(), schema))
                        has.update(batch.column("id").to_pylist())
            while part := list(islice(lines, _ROWS_AT_ONCE)):
                rows = [row_of(json.loads(line)) for line in part]
                for row in rows:
                    row["at"] = datetime.fromisoformat(row["at"].replace("Z", "+00:00"))
                new = [row for row in rows if row["id"] not in has]
                writer.write_table(pa.Table.from_pylist(new, schema))
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(final)
        running.unlink()
    except (OSError, ValueError) as error:  # ValueError: pyarrow's, of a file that is none of ours
        raise SinkDownError(f"{final}: cannot be made or gone on with ({error}); move it away") from None
