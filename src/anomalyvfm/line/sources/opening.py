"""From settings to cameras."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.util import find_spec

from anomalyvfm.data import ImageError, read_image
from anomalyvfm.errors import InputError
from anomalyvfm.line.settings import AnyCamera, GenicamSettings, SnapshotSettings, VideoSettings
from anomalyvfm.line.sources.asking import Asking
from anomalyvfm.line.sources.camera import Camera, Frame
from anomalyvfm.line.sources.feed import Feed
from anomalyvfm.line.sources.triggers import EveryTrigger, Fields, MessageTrigger, MotionTrigger, Trigger
from anomalyvfm.line.states import States

_NEEDS = {
    "snapshot": ("httpx", "line"),
    "video": ("cv2", "camera"),
    "camera": ("cv2", "camera"),
    "genicam": ("harvesters", "genicam"),
}
_JUDGED_EVERY, _LOOKED_EVERY = 1.0, 0.1


class CameraSource:
    """A camera of a line, and who may ask it for frames."""

    def __init__(
        self,
        name: str,
        settings: AnyCamera,
        states: States,
        take: Callable[[Frame], bool],
        lose: Callable[[Fields, str], None],
    ) -> None:
        """Nothing is connected yet. ``take`` and ``lose`` are those of `Feed`.

        Raises InputError where what it needs is not there.
        """
        self._ending = threading.Event()
        camera = _camera(name, settings, self._ending)
        self.feed = Feed(name, camera, _trigger(name, settings), states, take, lose, self._ending)
        self._asking: Asking | None = None
        if settings.broker is not None:
            _check(f"sources.{name}.broker", "paho", "line")
            self._asking = Asking(settings.broker, self.feed, states)

    def start(self) -> None:
        self.feed.start()
        if self._asking is not None:
            self._asking.start()

    def end(self) -> None:
        """Take no more frames from now on."""
        self._ending.set()

    def join(self) -> None:
        """Wait until it has ended."""
        if self._asking is not None:
            self._asking.close()
        self.feed.join()


def _camera(name: str, settings: AnyCamera, ending: threading.Event) -> Camera:
    _check(f"sources.{name}", *_NEEDS[settings.kind])
    if isinstance(settings, SnapshotSettings):
        from anomalyvfm.line.sources.snapshot import Snapshot

        return Snapshot(settings)
    if isinstance(settings, VideoSettings):
        from anomalyvfm.line.sources.opencv import Video

        return Video(settings, ending)
    if isinstance(settings, GenicamSettings):
        from anomalyvfm.line.sources.genicam import Genicam

        return Genicam(settings)
    from anomalyvfm.line.sources.opencv import Stream

    return Stream(settings)


def _trigger(name: str, settings: AnyCamera) -> Trigger:
    if settings.trigger == "message":
        return MessageTrigger()
    if settings.trigger == "time":
        return EveryTrigger(settings.every or _JUDGED_EVERY)
    try:
        empty = None if settings.empty is None else read_image(settings.empty)
    except ImageError as error:
        raise InputError(f"sources.{name}.empty: {error}") from None
    return MotionTrigger(settings.every or _LOOKED_EVERY, settings.motion, empty)


def _check(table: str, package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise InputError(f"{table}: needs {package}; pip install 'anomalyvfm[{extra}]'")
