"""What a benchmark has measured, a line of JSON each, in a file that a later start goes on from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Measurements:
    """Lines of a file that only grows; each is there, on disk, before the next is measured.

    A line belongs to a round of a section, or to none. What is compared must have been measured in turn, so
    the lines of a round count once the round is whole; the others stay in the file for whoever reads it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: dict[tuple[str, int | None, str], dict[str, Any]] = {}
        self._whole: set[tuple[str, int]] = set()
        kept = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        for line in filter(None, map(_parsed, kept)):
            if "whole" in line:
                self._whole.add((line["section"], line["whole"]))
            else:
                self._lines[line["section"], line["round"], line["name"]] = line

    def kept(self, section: str, number: int | None, name: str) -> dict[str, Any] | None:
        """The line of an earlier measurement, of a whole round or of none."""
        if number is not None and (section, number) not in self._whole:
            return None
        return self._lines.get((section, number, name))

    def add(self, section: str, number: int | None, name: str, figures: dict[str, Any]) -> None:
        self._append({"section": section, "round": number, "name": name, **figures})

    def close(self, section: str, number: int) -> None:
        """Say that a round is whole."""
        if (section, number) not in self._whole:
            self._append({"section": section, "whole": number})

    def _append(self, line: dict[str, Any]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        cut_off = self._file.exists() and not self._file.read_bytes().endswith(b"\n")
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write("\n" * cut_off + json.dumps(line) + "\n")


def version(sources: Iterable[Path], about: Any) -> str:
    """A short name for code and conditions: measurements of another one are not comparable."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for file in sorted(sources):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:10]


def _parsed(text: str) -> dict[str, Any] | None:
    """A line, or None for one that was cut off while it was written."""
    try:
        line: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return line
