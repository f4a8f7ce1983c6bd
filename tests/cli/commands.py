"""Commands as a user types them, and what they said."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from anomalyvfm.cli import main

SMALL_IMAGES = ("--image-size", "96", "--device", "cpu", "--backbone", "efficientnet-lite0")

QUICK = (*SMALL_IMAGES, "--set", "gaussian.scales=1", "--set", "gaussian.dimensions=64")
"""For a fit that takes a moment: small images, each seen once, in few dimensions."""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def refused(*arguments: object) -> str:
    """The one line on stderr of a command that must exit with 2."""
    result = run(*arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    return result.stderr


def as_json(*arguments: object) -> Any:
    """The one document on stdout of a command that must succeed with --json."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)
