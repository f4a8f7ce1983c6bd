"""How a command ends that cannot do what it was asked."""

from __future__ import annotations

import sys
from typing import Any

import click

from anomalyvfm.errors import InputError


class OneLineErrors(click.Group):
    """Exit status 2 and one line on stderr when the input is wrong, 130 after Ctrl-C; else it is a bug."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
            return super().main(*args, **kwargs)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "anomalyvfm"
            message = " ".join(error.format_message().split())
            _fail(f"{command}: {message} See `{command} --help`.", 2)
        except (InputError, click.ClickException) as error:
            _fail(str(error), 2)
        except (click.Abort, KeyboardInterrupt):
            _fail("stopped; nothing unfinished bears a final name", 130)


def _fail(message: str, status: int) -> None:
    click.echo(f"error: {message}", err=True)
    sys.exit(status)
