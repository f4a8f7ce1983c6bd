"""Broken and hostile uploads for some minutes: no 5xx, no hang, and good images are still judged.

Images in all formats the station reads are cut, flipped, spliced and relabelled, and so are the forms they
come in.
"""

from __future__ import annotations

import http.client
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.station_process import Server

CLIENTS = 4
LIMIT_SECONDS = 30.0  # the station's own for a request
_LATE = 5.0
_PATHS = ("/api/judge", "/api/judge?name=%00..%2f..%2fx", "/api/judge?model=none", "/api/jobs")
_TYPES = ("application/octet-stream", "image/png", "image/jpeg", "text/html", "", "application/json")


def seeds() -> list[bytes]:
    """A picture in each format and mode that is read."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    picture = Image.fromarray(noise)
    found = []
    for mode in ("RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"):
        shown = Image.fromarray(noise[..., 0].astype(np.uint16)) if mode == "I;16" else picture.convert(mode)
        for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP"):
            stream = BytesIO()
            try:
                shown.save(stream, kind)
            except (OSError, ValueError):  # not every format has every mode
                continue
            found.append(stream.getvalue())
    return found


def mutated(chance: random.Random, originals: list[bytes]) -> bytes:
    content = bytearray(chance.choice(originals))
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(content) + 1)
        how = chance.randrange(7)
        if how == 0:
            del content[place:]
        elif how == 1 and content:
            for _ in range(chance.choice((1, 4, 64))):
                content[chance.randrange(len(content))] = chance.randrange(256)
        elif how == 2 and content:  # where sizes and offsets are
            content[chance.randrange(min(64, len(content)))] = chance.choice((0, 1, 127, 128, 255))
        elif how == 3:
            content[place:place] = chance.randbytes(chance.choice((1, 16, 4096)))
        elif how == 4:
            other = chance.choice(originals)
            content[place:] = other[chance.randrange(len(other)) :]
        elif how == 5:
            content += b"<script>alert(1)</script>" * chance.randrange(1, 50)
        elif content:
            content[place : place + 4] = chance.choice(
                (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0")
            )
    return bytes(content)


def form(chance: random.Random, originals: list[bytes]) -> tuple[bytes, str]:
    """A multipart body, often not quite one, and its type."""
    boundary = chance.choice(("x", "-" * 60, "a b", "\u00e9"))
    name = chance.choice(("image", "image", "image", "other", "", "image[]"))
    file = chance.choice(("1.png", "../../1", "", "a" * 5000, "x\r\ny", "\0"))
    body = b""
    for _ in range(chance.randrange(4)):
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n\r\n'
        body += head.encode() + mutated(chance, originals) + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    if chance.random() < 0.3:
        body = body[: chance.randrange(len(body) + 1)]
    sent = chance.choice((boundary, boundary, boundary, "other", ""))
    return body, f"multipart/form-data; boundary={sent}"


class Fuzzer:
    """One client; what was wrong is kept in ``faults``."""

    def __init__(self, server: Server, seed: int, originals: list[bytes], until: float) -> None:
        self._server = server
        self._chance = random.Random(seed)
        self._originals = originals
        self._until = until
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []
        self.slowest = 0.0
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        client = self._server.client()
        while time.monotonic() < self._until:
            if self._chance.random() < 0.4:
                body, kind = form(self._chance, self._originals)
            else:
                body, kind = mutated(self._chance, self._originals), self._chance.choice(_TYPES)
            path = self._chance.choice(_PATHS)
            started = time.monotonic()
            try:
                client.request("POST", path, body, {"Content-Type": kind.encode("utf-8").decode("latin-1")})
                answer = client.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._fault(path, kind, body, repr(error))
                client = self._server.client()
                continue
            seconds = time.monotonic() - started
            self.slowest = max(self.slowest, seconds)
            self.statuses[answer.status] += 1
            if answer.status >= 500 or seconds > LIMIT_SECONDS + _LATE:
                self._fault(path, kind, body, f"{answer.status} after {seconds:.1f} s: {said[:200]!r}")
            if answer.status == 429:
                time.sleep(1)

    def _fault(self, path: str, kind: str, body: bytes, what: str) -> None:
        with tempfile.NamedTemporaryFile(prefix="fuzz-", delete=False) as kept:
            kept.write(body)
        self.faults.append(f"{path} {kind}: {what}; body in {kept.name}")


def fuzz(model: Path, images: list[bytes], seconds: float, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "station", model)
        until = time.monotonic() + seconds
        originals = seeds() + images[:2]
        fuzzers = [Fuzzer(server, seed * CLIENTS + one, originals, until) for one in range(CLIENTS)]
        time.sleep(seconds / 3)
        memory = server.memory_mb()  # settled: decoders and caches have seen every format
        for one in fuzzers:
            one.thread.join()
        client = server.client()
        client.request("POST", "/api/judge", images[0])
        afterwards = client.getresponse().status
        grown = server.memory_mb() / memory
        server.stop()
    statuses: Counter[int] = sum((one.statuses for one in fuzzers), Counter())
    faults = [fault for one in fuzzers for fault in one.faults]
    return {
        "seconds": seconds,
        "requests": statuses.total(),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "slowest_s": round(max(one.slowest for one in fuzzers), 2),
        "memory_end_over_settled": round(grown, 2),
        "faults": faults[:20],
        "kept": not faults and afterwards == 200,
    }


def test_no_request_brings_an_error_of_the_stations_own(
    tiny: tuple[Path, list[bytes]], pytestconfig: pytest.Config, keeps: Callable[[dict[str, Any]], None]
) -> None:
    seconds, seed = 60 * pytestconfig.getoption("--minutes"), int(pytestconfig.getoption("--seed"))
    keeps(fuzz(*tiny, seconds, seed))
