"""A command's options from the environment or a TOML file, and the tables that this file may have besides."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import click

from anomalyvfm.cli.options import PATH
from anomalyvfm.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENVIRONMENT = {"auto_envvar_prefix": "ANOMALYVFM"}
"""Of a command's context: each option is also a variable, --port that of ANOMALYVFM_PORT."""

_TABLES = "anomalyvfm.tables"
_Command = TypeVar("_Command", bound=Callable[..., None])


def config_file(tables: Collection[str] = ()) -> Callable[[_Command], _Command]:
    """The option ``--config``: a TOML file with the command's other options, which it is asked for first.

    It may hold the named ``tables`` too, which `tables_of` gives.
    """

    def read(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
        if path is not None:
            _read(context, path, tables)
        return path

    return click.option(
        "--config",
        type=PATH,
        is_eager=True,
        expose_value=False,
        callback=read,
        help=f"A TOML file of these options{''.join(f', [{name}]' for name in tables)}: port = 8000.",
    )


def tables_of(context: click.Context) -> tuple[dict[str, Any], str]:
    """The tables of the file that ``--config`` named, and its name for messages."""
    found: tuple[dict[str, Any], str] = context.meta.get(_TABLES, ({}, "--config"))
    return found


def _read(context: click.Context, path: Path, tables: Collection[str]) -> None:
    try:
        with path.open("rb") as stream:
            found = tomllib.load(stream)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check --config") from None
    except ValueError as error:  # TOML, or text
        raise InputError(f"{path}: not readable as TOML ({error})") from None
    context.meta[_TABLES] = {name: found.pop(name) for name in tables if name in found}, str(path)
    known = {_key(parameter): parameter.name for parameter in context.command.params}
    if unknown := sorted(set(found) - set(known)):
        raise InputError(
            f"{path}: {unknown[0]}: no such option; there are {', '.join(sorted([*known, *tables]))}"
        )
    for key, value in found.items():
        if isinstance(value, dict):
            raise InputError(f"{path}: {key}: is a table; give one value")
    context.default_map = {known[key]: value for key, value in found.items()}


def _key(parameter: click.Parameter) -> str:
    """As the option is written, without its dashes."""
    return parameter.opts[0].lstrip("-")
