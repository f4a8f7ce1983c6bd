"""The decoding processes, and what is asked of them."""

from __future__ import annotations

import fcntl
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.line.barcodes import Barcodes
from anomalyvfm.server.decoding.worker import PREVIEW_SIDE, THUMBNAIL_SIDE
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.settings import Limits

_FIRST_BYTES = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpg",
    b"BM": "bmp",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "tif"),
}


def kind_of(content: bytes) -> str:
    """The ending of names of image files that begin so; nothing for what is none that is taken."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return next((kind for first, kind in _FIRST_BYTES.items() if content.startswith(first)), "")


@dataclass(frozen=True)
class Decoded:
    """(H, W, 3) uint8 pixels and a small JPEG of them."""

    pixels: NDArray[np.uint8]
    thumbnail: bytes
    codes: Sequence[str] = ()
    """What bar codes say, where they are to be read."""


class Decoders:
    """``count`` processes; a call takes the next free one and blocks until it has answered.

    A process that crashes, or takes longer than allowed and is killed, costs the one image it had and is
    replaced.
    """

    def __init__(self, count: int, limits: Limits, barcodes: Barcodes | None = None) -> None:
        self._limits = limits
        self._barcodes = None if barcodes is None else {"formats": barcodes.formats, "area": barcodes.area}
        self._free: queue.Queue[_Worker] = queue.Queue()
        self._workers = [_Worker(limits.decode_bytes) for _ in range(count)]
        for worker in self._workers:
            self._free.put(worker)

    def check(self, content: bytes) -> None:
        """Raise Problem for what is refused without looking further than the first bytes."""
        if not content:
            raise Problem(422, "image data: empty; send an image file")
        if len(content) > self._limits.image_bytes:
            raise Problem(
                413, f"image data: {len(content)} bytes; an image may have {self._limits.image_bytes}"
            )
        if not kind_of(content):
            raise Problem(415, "image data: not a PNG, JPEG, BMP, TIFF or WebP image; convert it")

    def pixels(self, content: bytes, white_level: int = 65535) -> Decoded:
        """Raises Problem 413, 415 or 422 for what is no image, or too large a one."""
        self.check(content)
        request = {"op": "pixels", "white_level": white_level, "barcodes": self._barcodes}
        head, (pixels, thumbnail) = self._ask(content, request)
        image = np.frombuffer(pixels, np.uint8).reshape(head["height"], head["width"], 3)
        return Decoded(image, thumbnail, head.get("codes", ()))

    def picture(self, content: bytes, side: int = PREVIEW_SIDE, white_level: int = 65535) -> bytes:
        """A JPEG of an image, made anew, no side over ``side`` pixels."""
        return self._ask(content, {"op": "picture", "side": side, "white_level": white_level})[1][0]

    def thumbnail(self, content: bytes, white_level: int = 65535) -> bytes:
        return self.picture(content, THUMBNAIL_SIDE, white_level)

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()

    def _ask(self, content: bytes, request: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        try:
            worker = self._free.get(timeout=self._limits.seconds)
        except queue.Empty:
            raise Problem(503, "all decoders are busy; try again", retry_after=2) from None
        try:
            head, parts = worker.ask(
                {**request, "max_pixels": self._limits.pixels}, content, self._limits.decode_seconds
            )
        finally:
            self._free.put(worker)
        if "error" in head:
            raise Problem(head["status"], head["error"])
        return head, parts


# As much as an unprivileged process may ask for: an image goes through in a few turns instead of dozens.
_PIPE_BYTES = 1 << 20


class _Worker:
    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None

    def ask(
        self, request: dict[str, Any], content: bytes, seconds: float
    ) -> tuple[dict[str, Any], list[bytes]]:
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, give_up)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(json.dumps({**request, "size": len(content)}).encode() + b"\n" + content)
            process.stdin.flush()
            head = json.loads(process.stdout.readline())
            parts = [process.stdout.read(size) for size in head["parts"]]
            if [len(part) for part in parts] != head["parts"]:
                raise EOFError
            return head, parts
        except (OSError, EOFError, ValueError):
            self.stop()
            if late.is_set():
                raise Problem(422, f"image data: decoding took over {seconds:g} s; it is refused") from None
            raise Problem(422, "image data: the decoder crashed on it; it is refused") from None
        finally:
            timer.cancel()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # what was not yet flushed is meant for nobody
                    continue

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "anomalyvfm.server.decoding.worker", str(self._memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # Secrets of the station's environment, a database's password say, are none of its business.
                env={name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
                | {"OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C in a terminal is for the station, which lets it finish
            )
            for stream in (self._process.stdin, self._process.stdout):
                # Not everywhere known, and not where a user's share of memory for pipes is used up.
                with suppress(AttributeError, OSError):
                    fcntl.fcntl(cast(IO[bytes], stream), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return self._process
