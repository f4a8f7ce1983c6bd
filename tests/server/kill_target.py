"""A station under load that says what it has accepted; to be killed at any moment."""

from __future__ import annotations

import itertools
import sys
import threading
from pathlib import Path

from anomalyvfm.server.settings import Settings
from anomalyvfm.server.station import Station
from tests.server.fake_detector import FakeDetector, picture


def main() -> None:
    data, given, first = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    station = Station(Settings(data, decoders=2), [given], FakeDetector.load)
    counter = itertools.count(first)
    saying = threading.Lock()

    def say(line: str) -> None:
        with saying:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def post() -> None:
        while True:
            seed = next(counter)
            part = station.submit(picture(100 + 60 * (seed % 2), seed), None, "", "me").result()
            say(f"part {part['id']} {part['sha256']}")
            if seed % 2:
                said = station.learning.review(part["id"], "good", "ann")
                say(f"version {said.learning['version']} {part['id']}")
            if seed % 5 == 0:
                job = station.jobs.accept(
                    [("a", picture(101, -seed % 1000)), ("b", picture(102, seed))], None, "me"
                )
                say(f"job {job['id']} 2")

    for _ in range(4):
        threading.Thread(target=post, daemon=True).start()
    say("ready")
    threading.Event().wait()


if __name__ == "__main__":
    main()
