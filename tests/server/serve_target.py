"""A station over HTTP, slow enough to be stopped in the middle of something."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from anomalyvfm.server.app import create_app, create_gate
from anomalyvfm.server.serving import bind, serve
from anomalyvfm.server.settings import Settings
from anomalyvfm.server.station import Station
from tests.server.fake_detector import FakeDetector


class _Slow(FakeDetector):
    def judge(self, images: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        time.sleep(1)
        return super().judge(images)


def main() -> None:
    settings = Settings(Path(sys.argv[1]), decoders=1)
    station = Station(settings, [Path(sys.argv[2])], _Slow.load)
    app = create_app(station, create_gate(settings))
    serve(app, station, bind("127.0.0.1", 0), lambda port: print(port, flush=True))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
