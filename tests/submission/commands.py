"""`anomalyvfm submit` as a user types it, and what it left on disk."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from anomalyvfm.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["submit", *(str(a) for a in arguments)])


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("[!.]*")) if p.is_file()}


def modified(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("[!.]*") if p.is_file()}
