"""Cameras as they are: pictures over HTTP, streams, recordings, and a simulated one that speaks GenICam."""

from __future__ import annotations

import base64
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalyvfm.errors import InputError
from anomalyvfm.line.settings import (
    GenicamSettings,
    LineSettings,
    SnapshotSettings,
    StreamSettings,
    VideoSettings,
)
from anomalyvfm.line.sources.camera import Camera, CameraDownError, RecordingEnded
from anomalyvfm.line.sources.genicam import Genicam, rgb_of
from anomalyvfm.line.sources.opencv import Stream, Video
from anomalyvfm.line.sources.snapshot import Snapshot
from tests.line.sources.http_camera import http_camera
from tests.server.fake_detector import picture

COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))


def source(**table: Any) -> Any:
    return LineSettings({"sources": {"top": table}}, "station.toml").sources["top"]


def test_a_snapshot_is_the_file_that_the_camera_sends() -> None:
    with http_camera(picture(100)) as (kind, address):
        camera = Snapshot(source(kind="snapshot", url=f"{address}/a.png"))
        camera.open()
        assert camera.frame() == picture(100)
        kind.status = 503
        with pytest.raises(CameraDownError, match=r"/a\.png: answers 503, and 200 has a picture"):
            camera.frame()
        camera.close()
    with pytest.raises(CameraDownError, match="refused"):
        camera.open()


def test_a_camera_may_ask_who_we_are(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("open sesame\n")
    with http_camera(picture(100)) as (kind, address):
        kind.login = "Basic " + base64.b64encode(b"viewer:open sesame").decode()
        login = {"username": "viewer", "password-file": str(tmp_path / "password"), "login": "basic"}
        camera = Snapshot(source(kind="snapshot", url=f"{address}/a.png", **login))
        camera.open()
        camera.close()
        camera = Snapshot(source(kind="snapshot", url=f"{address}/a.png"))
        with pytest.raises(CameraDownError, match="answers 401"):
            camera.open()


def test_who_stands_in_the_address_signs_in(caplog: pytest.LogCaptureFixture) -> None:
    with http_camera(picture(100)) as (kind, address):
        kind.login = 'Digest username="viewer"'
        inside = address.replace("//", "//viewer:open%20sesame@")
        camera = Snapshot(source(kind="snapshot", url=f"{inside}/a.png"))
        camera.open()
        assert camera.frame() == picture(100)
        camera.close()
        kind.login = 'Digest username="somebody else"'
        with pytest.raises(CameraDownError, match="answers 401") as said:
            camera.open()
    assert "sesame" not in str(said.value) + caplog.text


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Ten frames of each colour, at 50 a second."""
    cv2 = pytest.importorskip("cv2", reason="needs the extra 'camera'")
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 50, (64, 48))
    for red, green, blue in COLOURS:
        for _ in range(10):
            writer.write(np.full((48, 64, 3), (blue, green, red), np.uint8))
    writer.release()
    return path


def seen(camera: Camera, most: int = 1000) -> list[np.ndarray]:
    frames = []
    try:
        for _ in range(most):
            camera.advance()
            frames.append(np.asarray(camera.frame()))
    except RecordingEnded:
        pass
    return frames


def test_a_recording_is_played_at_its_pace_in_its_colours(recording: Path) -> None:
    camera = Video(source(kind="video", file=str(recording)), threading.Event())
    camera.open()
    started = time.monotonic()
    frames = seen(camera)
    assert time.monotonic() - started >= 29 / 50
    camera.close()
    assert len(frames) == 30
    for frame, colour in zip(frames[5::10], COLOURS, strict=True):
        assert frame.shape == (48, 64, 3)
        assert np.abs(frame.mean((0, 1)) - colour).max() < 8


def test_a_recording_may_be_played_again_and_again(recording: Path) -> None:
    camera = Video(source(kind="video", file=str(recording), repeat=True), threading.Event())
    camera.open()
    assert len(seen(camera, 70)) == 70
    camera.close()


def test_what_is_no_recording_is_said(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="needs the extra 'camera'")
    camera = Video(source(kind="video", file=str(tmp_path / "no.mp4")), threading.Event())
    with pytest.raises(CameraDownError, match="no such file"):
        camera.open()
    (tmp_path / "no.mp4").write_bytes(b"\0" * 1000)
    with pytest.raises(CameraDownError, match="no video that can be read"):
        camera.open()


def test_a_stream_gives_the_frame_of_now_and_says_when_it_ends() -> None:
    pytest.importorskip("cv2", reason="needs the extra 'camera'")
    with http_camera() as (_, address):
        camera = Stream(source(kind="camera", address=f"{address}/stream", timeout=3))
        camera.open()
        levels = []
        with pytest.raises(CameraDownError, match="sends no more frames"):
            for _ in range(100):
                camera.advance()
                levels.append(np.asarray(camera.frame()).mean())
        camera.close()
    assert len(levels) >= 20
    assert levels == sorted(levels)
    camera = Stream(source(kind="camera", address="/dev/no-such-video"))
    with pytest.raises(CameraDownError, match="/dev/no-such-video: does not answer"):
        camera.open()


@pytest.fixture
def producer() -> Path:
    """The GenTL producer that comes with the package: it simulates three cameras."""
    genicam = pytest.importorskip("genicam", reason="needs the extra 'genicam'")
    path = Path(genicam.__file__).parent / "viky.cti"
    if not path.is_file():
        pytest.skip("this genicam package has no simulated camera")
    return path


def test_a_genicam_camera_is_found_set_and_read(producer: Path) -> None:
    table = {"kind": "genicam", "producer": str(producer), "serial": "1"}
    camera = Genicam(source(**table, features={"PixelFormat": "RGBa8"}))
    for _ in range(2):  # it can be had again
        camera.open()
        frames = seen(camera, 3)
        camera.close()
        assert {frame.shape for frame in frames} == {(400, 400, 3)}
        assert not np.array_equal(frames[0], frames[2])  # its ball moves
    grey = Genicam(source(**table, features={"PixelFormat": "Mono8"}))
    grey.open()
    (frame,) = seen(grey, 1)
    grey.close()
    assert frame.shape == (400, 400, 3) and np.ptp(frame, axis=2).max() == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"serial": "9"}, "is not there, of 0, 1, 2"),
        ({"serial": None}, r"sees 3 cameras \(0, 1, 2\), name one by its serial"),
        ({"features": {"Nonsense": 1}}, "its Nonsense cannot be 1"),
        ({"features": {"PixelFormat": "Purple8"}}, "its PixelFormat cannot be Purple8"),
    ],
)
def test_what_a_genicam_camera_is_not_is_said(producer: Path, changes: dict[str, Any], says: str) -> None:
    table = {"kind": "genicam", "producer": str(producer), "serial": "1", **changes}
    camera = Genicam(source(**{key: value for key, value in table.items() if value is not None}))
    with pytest.raises(CameraDownError, match=says):
        camera.open()
    camera.close()


def test_pixels_of_every_format_become_the_colours_that_they_are() -> None:
    pytest.importorskip("cv2", reason="needs the extra 'genicam'")
    red, green, blue = 200, 90, 20
    rgb = np.broadcast_to(np.array([red, green, blue], np.uint8), (8, 10, 3))
    assert np.array_equal(rgb_of("RGB8", rgb), rgb)
    assert np.array_equal(rgb_of("BGR8", rgb[..., ::-1]), rgb)
    alpha = np.full((8, 10, 1), 7, np.uint8)
    assert np.array_equal(rgb_of("RGBa8", np.concatenate([rgb, alpha], 2)), rgb)
    assert np.array_equal(rgb_of("BGRa8", np.concatenate([rgb[..., ::-1], alpha], 2)), rgb)
    first = {"RG": (red, green, green, blue), "GR": (green, red, blue, green)}
    first |= {"GB": (green, blue, red, green), "BG": (blue, green, green, red)}
    for name, (a, b, c, d) in first.items():
        mosaic = np.tile(np.array([[a, b], [c, d]], np.uint8), (4, 5))[..., None]
        assert np.array_equal(rgb_of(f"Bayer{name}8", mosaic), rgb), name
        assert np.array_equal(
            rgb_of(f"Bayer{name}12", (mosaic.astype(np.uint16) << 4).astype(np.uint16)), rgb
        ), name
    mono = np.full((8, 10, 1), 0xABC, np.uint16)
    assert np.array_equal(rgb_of("Mono12", mono), np.full((8, 10, 3), 0xAB))
    for unknown in ("Mono12Packed", "Coord3D_C16", "YUV422_8"):
        with pytest.raises(CameraDownError, match=f"its pixel format {unknown} is not read"):
            rgb_of(unknown, mono)


def test_settings_name_each_kind_and_what_is_wrong_with_them() -> None:
    assert isinstance(source(kind="snapshot", url="http://c/a.jpg"), SnapshotSettings)
    assert isinstance(source(kind="video", file="a.mp4"), VideoSettings)
    stream = source(kind="camera", address="rtsp://me:secret@c/1?token=2", fields={"line": "3"})
    assert isinstance(stream, StreamSettings)
    assert (stream.where, stream.fields.known) == ("rtsp://c/1", {"line": "3"})
    assert isinstance(source(kind="camera", address=0), StreamSettings)
    assert isinstance(source(kind="genicam", producer="a.cti"), GenicamSettings)
    for wrong, says in (
        ({"kind": "webcam"}, "sources.top: "),
        ({"kind": "snapshot", "url": "ftp://c"}, "sources.top.url: "),
        ({"kind": "snapshot", "url": "http://c", "trigger": "motion"}, "single pictures show no motion"),
        ({"kind": "camera", "address": 0, "every": 0}, "sources.top.every: "),
        ({"kind": "camera", "address": 0, "every": 1, "trigger": "message"}, "every: has no meaning"),
        ({"kind": "camera", "address": 0, "empty": "a.png"}, 'empty: is for trigger = "motion"'),
        ({"kind": "camera", "address": 0, "broker": {"host": "b", "topic": "t"}}, "broker: is for trigger"),
        ({"kind": "folder", "folder": "in", "then": "burn"}, "sources.top.then: "),
        (
            {"kind": "folder", "folder": "in", "fields": {"colour": "red"}},
            "sources.top.fields.colour: no such",
        ),
    ):
        with pytest.raises(InputError, match=r"station\.toml: sources") as raised:
            source(**wrong)
        assert says in str(raised.value)
