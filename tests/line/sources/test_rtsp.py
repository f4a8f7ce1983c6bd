"""A camera with an RTSP address and a password, against GStreamer's server.

apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{base,good,ugly}
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anomalyvfm.line.settings import StreamSettings
from anomalyvfm.line.sources.camera import CameraDownError
from anomalyvfm.line.sources.opencv import Stream
from tests.line.sinks.mosquitto import free_port

pytest.importorskip("cv2")

SERVER = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer as Rtsp
Gst.init(None)
assert Gst.ElementFactory.find("x264enc") and Gst.ElementFactory.find("rtph264pay")
server = Rtsp.RTSPServer()
server.set_service(sys.argv[1])
media = Rtsp.RTSPMediaFactory()
media.set_launch(
    "( videotestsrc pattern=red is-live=true ! video/x-raw,width=320,height=240,framerate=15/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=5 ! rtph264pay name=pay0 pt=96 )"
)
token = Rtsp.RTSPToken()
token.set_string(Rtsp.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
login = Rtsp.RTSPAuth()
login.add_basic(Rtsp.RTSPAuth.make_basic("viewer", "secret"), token)
server.set_auth(login)
allowed = Rtsp.RTSPPermissions()
for what in (Rtsp.RTSP_PERM_MEDIA_FACTORY_ACCESS, Rtsp.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT):
    allowed.add_permission_for_role("viewer", what, True)
media.set_permissions(allowed)
server.get_mount_points().add_factory("/stream1", media)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    system = Path("/usr/bin/python3")  # its bindings are Debian's packages
    if not system.exists():
        pytest.skip("no python3 of the system's")
    process = subprocess.Popen(
        [str(system), "-c", SERVER, str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        pytest.skip("GStreamer's RTSP server is not installed")
    yield process, port
    process.kill()
    process.wait()


def stream(port: int, login: str, **more: Any) -> Stream:
    address = f"rtsp://{login}@127.0.0.1:{port}/stream1"
    return Stream(StreamSettings.model_validate({"kind": "camera", "address": address, **more}))


def test_a_camera_shows_what_it_sees_until_it_is_gone(server: tuple[subprocess.Popen[str], int]) -> None:
    process, port = server
    camera = stream(port, "viewer:secret")
    camera.open()
    for _ in range(3):
        camera.advance()
        frame = camera.frame()
    assert frame.shape == (240, 320, 3)
    red, green, blue = frame.reshape(-1, 3).mean(0)
    assert red > 200 and green < 60 and blue < 60
    process.kill()
    with pytest.raises(CameraDownError, match="sends no more frames") as said:
        for _ in range(500):
            camera.advance()
    assert "secret" not in str(said.value)
    camera.close()


def test_a_wrong_password_is_a_camera_that_is_down(server: tuple[subprocess.Popen[str], int]) -> None:
    _, port = server
    with pytest.raises(CameraDownError, match=rf"rtsp://127\.0\.0\.1:{port}/stream1: does not answer"):
        stream(port, "viewer:wrong", timeout=3).open()
