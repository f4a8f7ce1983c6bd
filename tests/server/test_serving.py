"""The station as a process: what was accepted is finished before it ends."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from anomalyvfm.cli.serve import serve as command
from anomalyvfm.errors import InputError
from anomalyvfm.server.app import create_app, create_gate
from anomalyvfm.server.serving import bind, serve
from anomalyvfm.server.station import Station
from tests.server.fake_detector import picture


def test_sigterm_finishes_what_is_under_way_and_ends_event_streams(
    tmp_path: Path, model_folder: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.server.serve_target", str(tmp_path / "station"), str(model_folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        listener = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        listener.request("GET", "/api/events")
        stream = listener.getresponse()
        assert stream.readline() == b": welcome\n"
        statuses: list[int] = []

        def post() -> None:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            client.request("POST", "/api/judge", picture(100))
            statuses.append(client.getresponse().status)

        posting = threading.Thread(target=post)
        posting.start()
        time.sleep(0.8)
        process.terminate()
        assert process.wait(20) == 0
        posting.join()
        assert statuses == [200]
        stream.read()  # it has ended, and so this returns
    finally:
        process.kill()


def test_an_address_that_others_took_meanwhile_is_one_line(station: Station) -> None:
    address = bind("127.0.0.1", 0)
    with bind("127.0.0.1", address.getsockname()[1]) as faster:
        faster.listen()
        with address, pytest.raises(InputError, match="choose another --port"):
            serve(create_app(station, create_gate(station.settings)), station, address)


def test_an_address_in_use_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        answer = CliRunner().invoke(command, ["--data", str(tmp_path / "station"), "--port", port])
    assert answer.exit_code == 1 and "choose another --port" in str(answer.exception)
    assert not (tmp_path / "station").exists()
