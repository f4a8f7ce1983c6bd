"""Play a line: parts come as files at a steady rate, the watch is killed in the middle, and sinks fail.

A real mosquitto and a receiver of webhooks that fails half of the time, after it has taken a message as
often as before, note when each part's news arrives. Each part must have arrived at each by one id, however
often; the times are from the moment a file is whole to the arrival.

    python benchmarks/line.py                                             # drawn parts
    python benchmarks/line.py --model MODEL --images DIR --parts 500 --rate 20
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from tests.line.sinks.mosquitto import Broker, Listener

_PATIENCE_SECONDS = 120


@dataclass
class Arrivals:
    """When each part's news came, and under which ids."""

    first: dict[str, float] = field(default_factory=dict)
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, message: dict[str, Any]) -> None:
        with self.lock:
            self.count += 1
            self.first.setdefault(message["path"], time.monotonic())
            self.ids[message["path"]].add(message["id"])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", type=Path, help="a fitted or exported model; else one of drawn parts is made"
    )
    parser.add_argument("--images", type=Path, help="a folder of images to play, over and over")
    parser.add_argument("--parts", type=int, default=500)
    parser.add_argument("--rate", type=float, default=20, help="parts a second")
    parser.add_argument("--calm", action="store_true", help="no kill, and a receiver that takes everything")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model, images = _given(options.model, options.images, folder)
        return _play(folder, model, images, options.parts, options.rate, options.calm)


def _given(model: Path | None, images: Path | None, folder: Path) -> tuple[Path, list[Path]]:
    from anomalyvfm.data.datasets.listing import list_images

    if model is None or images is None:
        _run("generate", "--out", folder / "data", "--images", "40", "--size", "256")
        category = folder / "data" / "sheet_metal"
        _run("fit", category, "--image-size", "128", "--out", folder / "fitted")
        _run("export", folder / "fitted", "--to", "openvino", "--out", folder / "model")
        test = category / "test_public"
        return folder / "model", list_images(test / "good") + list_images(test / "bad")
    return model, list_images(images)


def _play(folder: Path, model: Path, images: list[Path], parts: int, rate: float, calm: bool) -> int:
    (folder / "in").mkdir()
    (folder / "secret").write_text("a secret of the line's own\n")
    broker = Broker(folder)
    broker.start()
    over_mqtt, over_http = Arrivals(), Arrivals()
    listener = Listener(broker.port, "line/verdict", lambda _, content, __: over_mqtt.note(content))
    with _receiver(over_http, 0.0 if calm else 0.5) as url:
        (folder / "line.toml").write_text(
            f'[sinks.broker]\nkind = "mqtt"\nhost = "127.0.0.1"\nport = {broker.port}\ntopic = "line"\n'
            f'[sinks.mes]\nkind = "webhook"\nurl = "{url}"\ntimeout = 1.0\n'
            f'secret-file = "{folder / "secret"}"\n'
        )
        command = [sys.executable, "-m", "anomalyvfm", "watch", model, folder / "in"]
        command += ["--out", folder / "out", "--config", folder / "line.toml", "--then", "move"]
        watch = _start(command, folder)
        dropped: dict[str, float] = {}
        begun = time.monotonic()
        for number in range(parts):
            time.sleep(max(0.0, begun + number / rate - time.monotonic()))
            image = images[number % len(images)]
            name = f"{number:05d}{image.suffix}"
            shutil.copyfile(
                image, folder / "in" / name
            )  # as a camera writes it, not renamed when it is whole
            dropped[name] = time.monotonic()
            if not calm and number == parts // 2:
                watch.send_signal(signal.SIGKILL)
                watch.wait()
                watch = _start(command, folder, wait=False)
        end = time.monotonic() + _PATIENCE_SECONDS
        while min(len(over_mqtt.first), len(over_http.first)) < parts and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(1.0)  # whatever else may come
        watch.send_signal(signal.SIGTERM)
        watch.wait()
    listener.close()
    broker.stop()
    return _report(dropped, {"mqtt": over_mqtt, "webhook": over_http}, folder / "out")


def _report(dropped: dict[str, float], sinks: dict[str, Arrivals], out: Path) -> int:
    judged = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    print(
        f"{len(dropped)} parts, {len(judged)} judged, {sum(part['anomalous'] for part in judged)} anomalous"
    )
    wrong = {part["path"] for part in judged} ^ set(dropped)
    once = len(judged) == len(dropped) and not wrong
    for name, arrivals in sinks.items():
        once &= arrivals.ids == {part["path"]: {part["id"]} for part in judged}
        times = [arrivals.first[path] - at for path, at in dropped.items() if path in arrivals.first]
        p50, p99, longest = 1000 * np.quantile(times, [0.5, 0.99, 1])
        ids = sum(map(len, arrivals.ids.values()))
        print(f"{name}: {len(times)} parts by {ids} ids in {arrivals.count} messages")
        print(f"{name}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {longest:.0f} ms after the file")
    print("each part once at each sink" if once else "NOT each part once at each sink")
    return 0 if once else 1


@contextmanager
def _receiver(arrivals: Arrivals, failing: float) -> Iterator[str]:
    """A receiver that answers 500, or nothing, to a share of what comes, half of which it takes too."""
    chance = random.Random(0)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert self.headers["webhook-id"] == body["id"]
            fails = chance.random() < failing
            if not fails or chance.random() < 0.5:
                arrivals.note(body)
            if fails and chance.random() < 0.1:
                self.close_connection = True  # silence
                return
            self.send_response(500 if fails else 204)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook"
    finally:
        server.shutdown()
        thread.join()


def _start(command: list[Any], folder: Path, wait: bool = True) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)
    while wait and b"watching" not in (folder / "log").read_bytes():
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.05)
    return process


def _run(*arguments: Any) -> None:
    command = [sys.executable, "-m", "anomalyvfm", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
