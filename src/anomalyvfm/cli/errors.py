"""How a command ends that cannot do what it was asked."""

from __future__ import annotations

import os
import sys
import warnings
from io import TextIOWrapper
from typing import Any, TextIO

import click
from click.exceptions import NoArgsIsHelpError

from anomalyvfm.errors import ImageWarning, InputError


class OneLineErrors(click.Group):
    """Exit status 2 and one line on stderr when the input is wrong, 130 after Ctrl-C; else it is a bug.

    What the terminal's encoding lacks is printed as question marks.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):  # else a character it lacks would end a run that is done
                stream.reconfigure(errors="replace")
        warnings.showwarning = _Notes()
        try:
            result = super().main(*args, **kwargs)
            if sys.stdout is not None:  # as it is where it was closed before the start
                sys.stdout.flush()
            return result
        except NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help() if error.ctx else error.format_message())
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "anomalyvfm"
            message = " ".join(error.format_message().split())
            _fail(f"{command}: {message} See `{command} --help`.", 2)
        except (InputError, click.ClickException) as error:
            _fail(str(error), 2)
        except (click.Abort, KeyboardInterrupt):
            _fail("stopped; nothing unfinished bears a final name", 130)
        except OSError as error:
            if not _is_stdout_broken():
                raise
            _fail(f"standard output cannot be written ({error.strerror}); files that were made are whole", 2)


class _Notes:
    """Prints what a user would want to know of an image: a line on stderr, once, without our code's place."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = warnings.formatwarning(message, category, filename, lineno, line).rstrip()
        if issubclass(category, ImageWarning):
            text = f"note: {message}"
        if text not in self._shown:  # a file may be read more than once
            self._shown.add(text)
            click.echo(text, err=True)


def _is_stdout_broken() -> bool:
    """Whether standard output takes nothing; then what waits for it is dropped, or Python would try again."""
    if sys.stdout is None:
        return False
    try:
        sys.stdout.write("\n")  # what could not be written before is gone
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _fail(message: str, status: int) -> None:
    click.echo(f"error: {message}", err=True)
    sys.exit(status)
