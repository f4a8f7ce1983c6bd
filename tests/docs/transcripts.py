"""Transcripts in the docs: commands of a page, what it says they print, and what they print now.

A transcript is a block marked `console`: lines that begin with `$ ` are commands (a line that ends with a
backslash goes on), the lines below what they print, on either stream. It may leave lines out, but what it
shows must come in that order. Words must be the same and whole numbers equal; other numbers may differ by
what another machine makes of them, differences between two ways to compute the same by a factor of ten, and
seconds, milliseconds, megabytes and versions by anything.
`<!-- needs: NAME -->` above a transcript names a folder of ../shared/data it works on. A block marked
`python` that begins with `# NAME.py` is a file of that name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_BLOCK = re.compile(
    r"(?:<!-- needs: (?P<needs>\S+) -->\n+)?^```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_FILE = re.compile(r"^```python\n# (?P<name>\w+\.py)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = r"(?<![\w.])[-−+]?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.]*\w)"
# Around numbers that differ from run to run, which are only looked for.
_LOOSE_BEFORE, _LOOSE_AFTER = re.compile(r'("ms": |version )$'), re.compile(r" (ms|s|MB)\b")
# Before differences between two ways to compute the same, of which the size matters alone.
_ROUGH_BEFORE = re.compile(r"by( at most)? $")


Likeness = Literal["exact", "rough", "loose"]


@dataclass(frozen=True)
class Step:
    """A command and what the page says it prints."""

    command: str
    printed: tuple[str, ...]
    needs: str | None
    line: int
    """Of the page."""


def steps(page: str) -> Iterator[Step]:
    """Those of a page in Markdown, in order."""
    for block in _BLOCK.finditer(page):
        first = page.count("\n", 0, block.start("text")) + 1
        command, printed, start = "", list[str](), first
        lines = block["text"].splitlines()
        for number, line in enumerate(lines, start=first):
            if line.startswith("$ "):
                if command:
                    yield Step(command, tuple(printed), block["needs"], start)
                command, printed, start = line[2:], [], number
            elif command.endswith("\\") and not printed:
                command += "\n" + line
            else:
                printed.append(line)
        if command:
            yield Step(command, tuple(printed), block["needs"], start)


def files(page: str) -> dict[str, str]:
    """Text by name of the files that a page shows."""
    return {found["name"]: found["text"] for found in _FILE.finditer(page)}


def missing(step: Step, output: str) -> list[str]:
    """Lines that the page shows and the output lacks, in the page's order."""
    output = " ".join(output.split())
    lacking, start = [], 0
    for line in step.printed:
        if not line.strip() or line.strip() == "…":
            continue
        end = _find(" ".join(line.split()), output, start)
        if end is None:
            lacking.append(line)
        else:
            start = end
    return lacking


def _find(line: str, output: str, start: int) -> int | None:
    """Where the line ends in the output, the first time it is there; None where it is not."""
    pattern, wanted, position = "", list[tuple[str, Likeness]](), 0
    for found in re.finditer(_NUMBER, line):
        before = line[: found.start()]
        loose = _LOOSE_BEFORE.search(before) or _LOOSE_AFTER.match(line[found.end() :])
        rough = _ROUGH_BEFORE.search(before)
        wanted.append((found[0], "loose" if loose else "rough" if rough else "exact"))
        pattern += re.escape(line[position : found.start()]) + f"({_NUMBER})"
        position = found.end()
    pattern += re.escape(line[position:])
    for match in re.compile(pattern).finditer(output, start):
        if all(alike(number, *said) for said, number in zip(wanted, match.groups(), strict=True)):
            return match.end()
    return None


def alike(measured: str, said: str, how: Likeness = "exact") -> bool:
    """Whole numbers equal, decimals within 3 % or three of the last digit; roughly: a factor of ten."""
    if how == "loose":
        return True
    ours, theirs = (float(text.replace("−", "-")) for text in (measured, said))
    if how == "rough":
        return ours == theirs or (ours > 0 and theirs > 0 and abs(math.log10(ours / theirs)) <= 1)
    if "." not in said:
        return ours == theirs
    digit = 10.0 ** -len(said.split(".")[1])
    return abs(ours - theirs) <= max(3.001 * digit, 0.03 * abs(theirs))


def pages(root: Path) -> list[Path]:
    """All pages of the project that hold a transcript."""
    every = [*root.glob("*.md"), *(root / "docs").glob("*.md")]
    return sorted(page for page in every if any(steps(page.read_text(encoding="utf-8"))))
