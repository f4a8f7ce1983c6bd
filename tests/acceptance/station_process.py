"""A station as a process of its own, and clients that keep it busy."""

from __future__ import annotations

import atexit
import http.client
import itertools
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

SIDE = 640
_SERVE = "from anomalyvfm.cli.serve import serve; serve()"


class Server:
    """A station in a process of its own, on a port of its own."""

    def __init__(self, data: Path, model: Path, *options: str) -> None:
        started = time.perf_counter()
        asked = [str(model), "--data", str(data), "--port", "0", "--json", *options]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, *asked], stdout=subprocess.PIPE, text=True
        )
        atexit.register(self.process.kill)  # a run that is interrupted leaves no station behind
        assert self.process.stdout is not None
        self.port = int(json.loads(self.process.stdout.readline())["url"].rsplit(":", 1)[1])
        self.seconds_to_start = time.perf_counter() - started

    def client(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def memory_mb(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no VmRSS")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(120)


def ask(
    client: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None
) -> tuple[int, Any]:
    client.request(
        method, path, body, {"Content-Type": "application/json"} if body and body[:1] == b"{" else {}
    )
    answer = client.getresponse()
    return answer.status, json.loads(answer.read())


class Clients:
    """Threads that post images until told to stop, and remember what was accepted."""

    def __init__(self, server: Server, images: list[bytes], count: int) -> None:
        self._server = server
        self._images = itertools.cycle(images)
        self._stop = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.broken = 0
        self.accepted: dict[int, str] = {}
        self.anomalous: list[int] = []
        self.seconds: list[float] = []
        self._threads = [threading.Thread(target=self._post) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _post(self) -> None:
        client = self._server.client()
        while not self._stop.is_set():
            started = time.perf_counter()
            try:
                status, said = ask(client, "POST", "/api/judge", next(self._images))
            except (OSError, http.client.HTTPException, ValueError):
                self.broken += 1  # killed, or what no load may cause
                return
            self.seconds.append(time.perf_counter() - started)
            self.statuses[status] += 1
            if status == 200:
                self.accepted[said["id"]] = said["sha256"]
                if said["anomalous"]:
                    self.anomalous.append(said["id"])
            elif status == 429:
                time.sleep(0.2)


def missing(server: Server, accepted: dict[int, str]) -> int:
    """Accepted inspections that the store does not have, with their image."""
    client = server.client()
    found: dict[int, str] = {}
    before: int | None = 1 << 30
    while before:
        _, page = ask(client, "GET", f"/api/inspections?limit=1000&before={before}")
        found |= {part["id"]: part["sha256"] for part in page["items"]}
        before = page["next"]
    return sum(found.get(number) != digest for number, digest in accepted.items())


def jpegs(folder: Path) -> list[bytes]:
    """The images of a folder as JPEGs of 640×640 pixels, at most 64."""
    found = []
    for path in sorted(folder.rglob("*.png"))[:64]:
        if "ground_truth" not in path.parts:
            stream = BytesIO()
            Image.open(path).convert("RGB").resize((SIDE, SIDE)).save(stream, "JPEG", quality=92)
            found.append(stream.getvalue())
    return found


def small_model(folder: Path, size: int) -> tuple[Path, Path]:
    """A model of drawn tins fitted at ``size`` pixels, and the folder of their test images."""
    drawn, model = folder / "drawn", folder / "can"
    for said in (
        f"generate --out {drawn} --categories can --images 40 --size 256",
        f"fit {drawn / 'can'} --out {model} --backbone efficientnet-lite0 --image-size {size}",
    ):
        run = [sys.executable, "-m", "anomalyvfm", *said.split()]
        subprocess.run(run, check=True, capture_output=True)
    return model, drawn / "can" / "test_public"
