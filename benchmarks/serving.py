"""The station under load, killed, and learning. Prints what docs/reliability.md reports.

    python benchmarks/serving.py load MODEL IMAGES --seconds 300
    python benchmarks/serving.py kills MODEL IMAGES --kills 200
    python benchmarks/serving.py review MODEL IMAGES --reviews 50

IMAGES are a folder of images; all are posted as JPEGs of 640×640 pixels.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
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

    def __init__(self, data: Path, model: Path) -> None:
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(model), "--data", str(data), "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
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
        self.accepted: dict[int, str] = {}
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
                return  # killed
            self.seconds.append(time.perf_counter() - started)
            self.statuses[status] += 1
            if status == 200:
                self.accepted[said["id"]] = said["sha256"]
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


def predict_rate(model: Path, images: list[bytes], seconds: float) -> float:
    """Images a second of the detector alone, in a process of its own, over the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(images):
            (Path(folder) / f"{number:04}.jpg").write_bytes(content)
        code = (
            "import itertools, sys, time; from pathlib import Path\n"
            "from anomalyvfm.detector import Detector\n"
            "detector = Detector.load(sys.argv[1]); files = sorted(Path(sys.argv[2]).iterdir())\n"
            "list(detector.judge(files[:8])); started = time.perf_counter(); count = 0\n"
            "for _, verdict in detector.judge(itertools.cycle(files)):\n"
            "    verdict.regions; count += 1\n"
            "    if time.perf_counter() - started > float(sys.argv[3]): break\n"
            "print(count / (time.perf_counter() - started), flush=True)\n"
            "import os; os._exit(0)\n"  # reading runs ahead, endlessly
        )
        run = [sys.executable, "-c", code, str(model), folder, str(seconds)]
        return float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)


def load(model: Path, images: list[bytes], seconds: float) -> dict[str, Any]:
    alone = [predict_rate(model, images, seconds / 5)]
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "station", model)
        clients = Clients(server, images, 16)
        memory = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            time.sleep(min(1.0, seconds / 20))
            memory.append(server.memory_mb())
        clients.stop()
        lost = missing(server, clients.accepted)
        server.stop()
    alone.append(predict_rate(model, images, seconds / 5))
    rate = clients.statuses[200] / seconds
    settled = memory[len(memory) // 3 :]
    ordered = sorted(clients.seconds)
    return {
        "statuses": dict(clients.statuses),
        "images_per_s": round(rate, 2),
        "predict_images_per_s": [round(one, 2) for one in alone],
        "share_of_predict": round(rate / statistics.mean(alone), 3),
        "p50_ms": round(1000 * ordered[len(ordered) // 2]),
        "p95_ms": round(1000 * ordered[int(len(ordered) * 0.95)]),
        "accepted_but_missing": lost,
        "memory_mb": [round(min(settled)), round(max(settled))],
        "memory_end_over_settled": round(settled[-1] / settled[0], 3),
    }


def kills(model: Path, images: list[bytes], count: int) -> dict[str, Any]:
    accepted: dict[int, str] = {}
    starts = []
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "station"
        for _ in range(count):
            server = Server(data, model)
            starts.append(server.seconds_to_start)
            clients = Clients(server, images, 8)
            # Somewhere among the first images, which take longest just after a start.
            wanted, until = chance.randrange(40), time.perf_counter() + 20
            while len(clients.accepted) < wanted and time.perf_counter() < until:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.2))
            server.process.kill()
            server.process.wait()
            clients.stop()
            accepted |= clients.accepted
        server = Server(data, model)
        lost = missing(server, accepted)
        status, _ = ask(server.client(), "POST", "/api/judge", images[0])
        server.stop()
    return {
        "kills": count,
        "accepted": len(accepted),
        "accepted_but_missing": lost,
        "judges_afterwards": status == 200,
        "start_s": {"median": round(statistics.median(starts), 2), "max": round(max(starts), 2)},
    }


def review(model: Path, images: list[bytes], count: int, pause: float) -> dict[str, Any]:
    """Every part is called a defect and good in turn until the model has changed ``count`` times."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "station", model)
        client = server.client()
        parts = [ask(client, "POST", "/api/judge", content)[1] for content in images]
        odd = [part["id"] for part in parts if part["anomalous"]]
        if not odd:
            raise SystemExit("none of the images is anomalous: give some with defects")
        for number, label in ((one, said) for one in itertools.cycle(odd) for said in ("good", "unsure")):
            said = json.dumps({"label": label}).encode()
            started = time.perf_counter()
            _, answer = ask(client, "POST", f"/api/inspections/{number}/reviews", said)
            if answer["learning"]["action"] != "none":
                seconds.append(time.perf_counter() - started)
            if len(seconds) >= count:
                break
            time.sleep(pause)
        server.stop()
    ordered = sorted(seconds)
    return {
        "reviews": len(ordered),
        "p50_ms": round(1000 * ordered[len(ordered) // 2]),
        "p95_ms": round(1000 * ordered[int(0.95 * (len(ordered) - 1))]),
    }


def jpegs(folder: Path) -> list[bytes]:
    found = []
    for path in sorted(folder.rglob("*.png"))[:64]:
        if "ground_truth" not in path.parts:
            stream = BytesIO()
            Image.open(path).convert("RGB").resize((SIDE, SIDE)).save(stream, "JPEG", quality=92)
            found.append(stream.getvalue())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("load", "kills", "review"))
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--reviews", type=int, default=50)
    parser.add_argument("--pause", type=float, default=0, help="seconds between reviews, as people need them")
    given = parser.parse_args()
    images = jpegs(given.images)
    if given.what == "load":
        result = load(given.model, images, given.seconds)
    elif given.what == "kills":
        result = kills(given.model, images, given.kills)
    else:
        result = review(given.model, images, given.reviews, given.pause)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
