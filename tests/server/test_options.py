"""Where a station's options come from, and what it writes to its log."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from anomalyvfm.cli import main
from anomalyvfm.cli.config_file import ENVIRONMENT, config_file
from anomalyvfm.cli.station_options import station_settings
from anomalyvfm.server import logs
from anomalyvfm.server.app import create_app, create_gate
from anomalyvfm.server.settings import Settings
from anomalyvfm.server.station import Station
from tests.server.fake_detector import picture


def settings_of(*arguments: str, **environment: str) -> Settings:
    found: list[Settings] = []

    @click.command(context_settings=ENVIRONMENT)
    @config_file()
    @station_settings
    def command(settings: Settings) -> None:
        found.append(settings)

    result = CliRunner().invoke(command, arguments, env=environment, standalone_mode=False)
    if result.exception:
        raise result.exception
    return found[0]


def test_the_command_line_counts_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "station.toml"
    file.write_text(
        'db = "postgresql://u:secret@db/one"\nkeep-days = 30\nqueue = 7\n'
        'proxy = ["10.0.0.1", "10.1.0.0/16"]\n'
    )
    settings = settings_of("--config", str(file), "--queue", "9", ANOMALYVFM_KEEP_DAYS="60")
    assert settings.database == "postgresql://u:secret@db/one"
    assert (settings.limits.waiting, settings.retention.days) == (9, 60)
    assert settings.proxies == ("10.0.0.1/32", "10.1.0.0/16")
    assert settings_of(ANOMALYVFM_DB="postgresql://db/two").database == "postgresql://db/two"
    assert settings_of(ANOMALYVFM_CONFIG=str(file)).limits.waiting == 7
    assert settings_of("--keep-versions", "5").versions_kept == 5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("qeue = 7", "qeue: no such option; there are .*queue"),
        ("queue = ", "not readable as TOML"),
        ("queue = 0", "--queue.*0 is not in the range"),
        ("queue = 'many'", "'many' is not a valid integer"),
        ("[keep]\ndays = 1", "keep: no such option"),
        ("[queue]\ndays = 1", "queue: is a table"),
        (b"\xff", "not readable as TOML"),
        (None, "cannot be read"),
    ],
)
def test_a_file_of_options_that_is_wrong_is_one_line(
    tmp_path: Path, content: str | bytes | None, said: str
) -> None:
    file = tmp_path / "station.toml"
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    result = CliRunner().invoke(main, ["serve", "--config", str(file)])
    assert result.exit_code == 2
    (line,) = result.output.strip().splitlines()
    assert re.search(said, line), line


@pytest.fixture
def log_lines(capsys: pytest.CaptureFixture[str]) -> Any:
    """What the log has written; the test's own handlers come back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def lines() -> list[str]:
        return capsys.readouterr().err.splitlines()

    yield lines
    root.handlers[:] = handlers
    root.setLevel(level)


def test_the_log_is_a_line_for_each_event(log_lines: Any) -> None:
    logs.configure(as_json=True, level="info")
    log = logging.getLogger("anomalyvfm.server.somewhere")
    log.debug("not shown")
    log.warning("a\nline with %s", '"quotes"')
    try:
        raise ValueError("ouch")
    except ValueError:
        log.exception("unexpected")
    first, second = map(json.loads, log_lines())
    assert (first["level"], first["message"]) == ("warning", 'a\nline with "quotes"')
    assert first["logger"] == "anomalyvfm.server.somewhere" and first["at"].endswith("+00:00")
    assert "ValueError: ouch" in second["trace"]
    logs.configure(as_json=False, level="warning")
    log.warning("plain")
    (line,) = log_lines()
    assert line.endswith(" WARNING anomalyvfm.server.somewhere: plain")


@pytest.mark.parametrize("kind", ["application/octet-stream", "multipart/form-data; boundary=x"])
def test_a_client_that_hangs_up_is_one_line_at_debug(
    station: Station, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level("DEBUG")
    app = create_app(station, create_gate(station.settings))
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'
    begun = form if kind.startswith("multipart") else b""
    messages = [
        {"type": "http.request", "body": begun + picture(100)[:20], "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(_: Any) -> None: ...

    headers = [(b"host", b"localhost"), (b"content-type", kind.encode())]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/judge",
        "query_string": b"",
        "headers": headers,
        "scheme": "http",
        "server": ("localhost", 80),
    }
    asyncio.run(app(scope, receive, send))
    told = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert not told, [one.getMessage() for one in told]
    assert [one.levelname for one in caplog.records if "hung up" in one.getMessage()] == ["DEBUG"]
