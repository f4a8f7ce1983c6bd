"""Play a line: parts come at a steady rate, who judges them is killed in the middle, and sinks fail.

They come as files to `anomalyvfm watch` (--to watch) or to a station (--to folder), or a station takes them
from a camera when a message says that one is there (--to camera; nobody is killed, for a part that nobody
took a picture of has gone by). A real mosquitto and a receiver of webhooks that fails half of the time, after
it has taken a message as often as before, note when each part's news arrives. Each part must have arrived at
each by one id, however often; the times are from the moment a file is whole, or a message to the camera is
sent, to the arrival.

    python benchmarks/line.py                                             # drawn parts
    python benchmarks/line.py --to camera --calm
    python benchmarks/line.py --model MODEL --images DIR --parts 500 --rate 20
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from tests.acceptance.station_process import Server, ask
from tests.line.sinks.mosquitto import Broker, Listener
from tests.line.sources.http_camera import http_camera

_PATIENCE_SECONDS = 120


@dataclass
class Arrivals:
    """When each part's news came, and under which ids."""

    first: dict[str, float] = field(default_factory=dict)
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, message: dict[str, Any]) -> None:
        part = message["fields"].get("serial") or message["path"]
        with self.lock:
            self.count += 1
            self.first.setdefault(part, time.monotonic())
            self.ids[part].add(message["id"])


class Watch:
    """`anomalyvfm watch`, to which parts come as files."""

    def __init__(self, model: Path, folder: Path) -> None:
        self._folder = folder
        self._command = [sys.executable, "-m", "anomalyvfm", "watch", model, folder / "in"]
        self._command += ["--out", folder / "out", "--config", folder / "line.toml", "--then", "move"]
        self._start()
        while b"watching" not in (folder / "log").read_bytes():
            assert self._process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)

    def give(self, part: str, image: Path) -> str:
        return _copy(part, image, self._folder)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._start()

    def judged(self) -> int:
        return len((self._folder / "out" / "predictions.jsonl").read_text().splitlines())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([str(part) for part in self._command], stdout=log, stderr=log)


class Station:
    """A station that looks into the folder to which parts come as files."""

    def __init__(self, model: Path, folder: Path) -> None:
        self._model, self._folder = model, folder
        with (folder / "line.toml").open("a") as settings:
            settings.write(f"[sources.in]\n{self._source()}")
        self._restarting: threading.Thread | None = None
        self._start()

    def _source(self) -> str:
        return f'kind = "folder"\nfolder = "{self._folder / "in"}"\nthen = "delete"\n'

    def give(self, part: str, image: Path) -> str:
        return _copy(part, image, self._folder)

    def kill(self) -> None:
        self._server.process.kill()
        self._server.process.wait()
        self._restarting = threading.Thread(target=self._start)  # the line does not wait for it
        self._restarting.start()

    def judged(self) -> int:
        _, newest = ask(self._server.client(), "GET", "/api/inspections?limit=1")
        return int(newest["items"][0]["id"])  # they count from 1

    def stop(self) -> None:
        if self._restarting is not None:
            self._restarting.join()
        self._server.stop()

    def _start(self) -> None:
        self._server = Server(self._folder / "data", self._model, "--config", str(self._folder / "line.toml"))


class StationWithCamera(Station):
    """A station with a camera, which is told when a part is there, and which one."""

    def __init__(self, model: Path, folder: Path) -> None:
        self._end = ExitStack()
        self._camera, self._address = self._end.enter_context(http_camera())
        super().__init__(model, folder)

    def _source(self) -> str:
        return f'kind = "snapshot"\nurl = "{self._address}/now.png"\ntrigger = "message"\n'

    def give(self, part: str, image: Path) -> str:
        self._camera.content = image.read_bytes()
        status, said = ask(self._server.client(), "POST", f"/api/line/sources/in/trigger?serial={part}")
        assert status < 300, said
        return part

    def stop(self) -> None:
        super().stop()
        self._end.close()


_JUDGES: dict[str, type[Watch] | type[Station]] = {
    "watch": Watch,
    "folder": Station,
    "camera": StationWithCamera,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", type=Path, help="a fitted or exported model; else one of drawn parts is made"
    )
    parser.add_argument("--images", type=Path, help="a folder of images to play, over and over")
    parser.add_argument("--to", choices=_JUDGES, nargs="+", default=list(_JUDGES), help="who judges")
    parser.add_argument("--parts", type=int, default=500)
    parser.add_argument("--rate", type=float, default=20, help="parts a second")
    parser.add_argument("--calm", action="store_true", help="no kill, and a receiver that takes everything")
    options = parser.parse_args()
    once = True
    with tempfile.TemporaryDirectory() as place:
        fitted, exported, images = _given(options.model, options.images, Path(place))
        for judge in options.to:
            folder = Path(place) / judge
            folder.mkdir()
            print(f"{judge}:", flush=True)
            model = exported if judge == "watch" else fitted  # a station exports by itself
            once &= _play(_JUDGES[judge], folder, model, images, options.parts, options.rate, options.calm)
    return 0 if once else 1


def _given(model: Path | None, images: Path | None, folder: Path) -> tuple[Path, Path, list[Path]]:
    from anomalyvfm.data.datasets.listing import list_images

    if model is None or images is None:
        _run("generate", "--out", folder / "data", "--images", "40", "--size", "256")
        category = folder / "data" / "sheet_metal"
        _run("fit", category, "--image-size", "128", "--out", folder / "fitted")
        _run("export", folder / "fitted", "--to", "openvino", "--out", folder / "model")
        test = category / "test_public"
        return folder / "fitted", folder / "model", list_images(test / "good") + list_images(test / "bad")
    return model, model, list_images(images)


def _play(
    kind: type[Watch] | type[Station],
    folder: Path,
    model: Path,
    images: list[Path],
    parts: int,
    rate: float,
    calm: bool,
) -> bool:
    """Whether each part came to each sink by one id; what came, and when, is printed."""
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
        judge = kind(model, folder)
        time.sleep(1.0)  # a line does not start in the second in which its judge does
        given: dict[str, float] = {}
        begun = time.monotonic()
        for number in range(parts):
            time.sleep(max(0.0, begun + number / rate - time.monotonic()))
            asked = time.monotonic()
            part = judge.give(f"{number:05d}", images[number % len(images)])
            given[part] = asked if kind is StationWithCamera else time.monotonic()
            if not calm and kind is not StationWithCamera and number == parts // 2:
                judge.kill()
        end = time.monotonic() + _PATIENCE_SECONDS
        while min(len(over_mqtt.first), len(over_http.first)) < parts and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(1.0)  # whatever else may come
        judged = judge.judged()
        judge.stop()
    listener.close()
    broker.stop()
    return _report(given, {"mqtt": over_mqtt, "webhook": over_http}, judged)


def _report(given: dict[str, float], sinks: dict[str, Arrivals], judged: int) -> bool:
    print(f"  {len(given)} parts, {judged} judged")
    once = judged == len(given)
    for name, arrivals in sinks.items():
        ids: set[str] = set().union(*arrivals.ids.values())
        once &= set(arrivals.ids) == set(given) and len(ids) == sum(map(len, arrivals.ids.values())) == judged
        times = [arrivals.first[part] - at for part, at in given.items() if part in arrivals.first]
        p50, p99, longest = 1000 * np.quantile(times, [0.5, 0.99, 1])
        print(f"  {name}: {len(times)} parts by {len(ids)} ids in {arrivals.count} messages")
        print(f"  {name}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {longest:.0f} ms")
    print("  each part once at each sink" if once else "  NOT each part once at each sink")
    return once


def _copy(part: str, image: Path, folder: Path) -> str:
    """As a camera writes it, not renamed when it is whole."""
    return shutil.copyfile(image, folder / "in" / (part + image.suffix)).name


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


def _run(*arguments: Any) -> None:
    command = [sys.executable, "-m", "anomalyvfm", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
