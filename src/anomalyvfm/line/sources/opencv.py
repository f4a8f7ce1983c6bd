"""Streams that OpenCV reads: cameras with an RTSP address, USB cameras, and recordings."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.line.sources.camera import CameraDownError, RecordingEnded

if TYPE_CHECKING:
    from anomalyvfm.line.settings import StreamSettings, VideoSettings

# FFmpeg takes RTSP over UDP by itself, of which a busy network loses pieces: torn frames.
_RTSP_OVER_TCP = "rtsp_transport;tcp"


class _Capture:
    """What OpenCV has open, and the frame at hand."""

    streams = True

    def __init__(self, where: str) -> None:
        self._where = where
        self._capture: Any = None

    def frame(self) -> NDArray[np.uint8]:
        """(H, W, 3), red first."""
        import cv2

        there, frame = self._capture.retrieve()
        if not there or frame is None:
            raise CameraDownError(f"{self._where}: a frame cannot be decoded")
        if frame.ndim == 2:
            frame = np.repeat(frame[..., None], 3, axis=2)
        rgb: NDArray[np.uint8] = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        return rgb

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class Stream(_Capture):
    """A camera that sends by itself; frames that are not taken are passed over undecoded as far as can be."""

    def __init__(self, settings: StreamSettings) -> None:
        super().__init__(settings.where)
        self._settings = settings

    def open(self) -> None:
        import cv2

        settings = self._settings
        milliseconds = round(1000 * settings.timeout)
        if isinstance(settings.address, str) and "://" in settings.address:
            os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", _RTSP_OVER_TCP)
            self._capture = cv2.VideoCapture(
                settings.address,
                cv2.CAP_FFMPEG,
                [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds, cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds],
            )
        else:
            self._capture = cv2.VideoCapture(settings.address)
        if not self._capture.isOpened():
            self.close()
            raise CameraDownError(f"{settings.where}: does not answer")
        if settings.size is not None:
            for key, value in zip(
                (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT), settings.size, strict=True
            ):
                self._capture.set(key, value)

    def advance(self) -> None:
        if not self._capture.grab():
            raise CameraDownError(f"{self._where}: sends no more frames")


class Video(_Capture):
    """A recording, played at its own pace, as the camera was; 25 frames a second if it does not say."""

    def __init__(self, settings: VideoSettings, ending: threading.Event) -> None:
        """``ending`` cuts short the wait for the next frame."""
        super().__init__(settings.where)
        self._settings = settings
        self._ending = ending
        self._began = 0.0
        self._shown = 0
        self._each = 0.04

    def open(self) -> None:
        import cv2

        path = self._settings.file
        if not path.is_file():
            raise CameraDownError(f"{path}: no such file")
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            self.close()
            raise CameraDownError(f"{path}: no video that can be read")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._each = 1 / rate if 0 < rate < 1000 else 0.04
        self._began = time.monotonic()
        self._shown = 0

    def advance(self) -> None:
        if not self._capture.grab():
            if not self._shown:
                raise CameraDownError(f"{self._where}: no frame in it can be read")
            if not self._settings.repeat:
                raise RecordingEnded
            self.close()
            self.open()
            self.advance()
            return
        due = self._began + self._shown * self._each
        self._shown += 1
        self._ending.wait(max(0.0, due - time.monotonic()))
