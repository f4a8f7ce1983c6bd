"""A camera with an address: one picture for each request, or a stream."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


def jpeg(level: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), (level, level, level)).save(stream, "JPEG")
    return stream.getvalue()


class HttpCamera(BaseHTTPRequestHandler):
    """One picture, or one after another without end."""

    content = b""
    status = 200
    login: str | None = None
    """What a request's authorization begins with."""

    def do_GET(self) -> None:
        if self.login is not None and not (self.headers.get("authorization") or "").startswith(self.login):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Digest realm="cam", nonce="a1", qop="auth"')
            self.end_headers()
            return
        self.send_response(self.status)
        if self.path == "/stream":
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            for number in range(30):
                content = jpeg(60 + 5 * number)
                self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\n")
                self.wfile.write(f"Content-Length: {len(content)}\r\n\r\n".encode() + content + b"\r\n")
                time.sleep(0.02)
            return
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def http_camera(content: bytes = b"") -> Iterator[tuple[type[HttpCamera], str]]:
    """Its class, for it to be told what to do, and its address."""
    kind = type("Camera", (HttpCamera,), {"content": content})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield kind, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
