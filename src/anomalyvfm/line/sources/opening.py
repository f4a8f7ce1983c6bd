"""From settings to cameras."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
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


class Cameras:
    """All cameras of a line, and who may ask them for frames."""

    def __init__(
        self,
        settings: Mapping[str, AnyCamera],
        states: States,
        take: Callable[[str, Frame], bool],
        lose: Callable[[str, Fields, str], None],
    ) -> None:
        """Nothing is connected yet. ``take`` and ``lose`` are those of `Feed`, after the source's name.

        Raises InputError where what one of them needs is not there.
        """
        self._ending = threading.Event()
        self.feeds: dict[str, Feed] = {}
        self._asking: list[Asking] = []
        for name, of_one in settings.items():
            camera = self._camera(name, of_one)
            self.feeds[name] = feed = Feed(
                name,
                camera,
                _trigger(name, of_one),
                states,
                lambda frame, name=name: take(name, frame),  # type: ignore[misc]
                lambda fields, why, name=name: lose(name, fields, why),  # type: ignore[misc]
                self._ending,
            )
            if of_one.broker is not None:
                _check(f"sources.{name}.broker", "paho", "line")
                self._asking.append(Asking(of_one.broker, feed, states))

    def start(self) -> None:
        for feed in self.feeds.values():
            feed.start()
        for asking in self._asking:
            asking.start()

    def close(self) -> None:
        """Take no more frames."""
        self._ending.set()
        for asking in self._asking:
            asking.close()
        for feed in self.feeds.values():
            feed.join()

    def _camera(self, name: str, settings: AnyCamera) -> Camera:
        _check(f"sources.{name}", *_NEEDS[settings.kind])
        if isinstance(settings, SnapshotSettings):
            from anomalyvfm.line.sources.snapshot import Snapshot

            return Snapshot(settings)
        if isinstance(settings, VideoSettings):
            from anomalyvfm.line.sources.opencv import Video

            return Video(settings, self._ending)
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
