"""The log of a station: a line on stderr for each event, as text or as JSON."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone

LEVELS = ("debug", "info", "warning", "error")


def configure(as_json: bool, level: str) -> None:
    """Let all loggers of the process, those of libraries too, write so."""
    handler = logging.StreamHandler()
    handler.setFormatter(_AsJson() if as_json else _AsText("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # It warns of each malformed form: whoever sends many could fill the disk with the log.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


class _AsText(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return _at(record)


class _AsJson(logging.Formatter):
    """One object a line, a trace of the program within it."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def _at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
