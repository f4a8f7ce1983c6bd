"""A thread for each camera: it takes the frames that show parts, and opens the camera again when it fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from anomalyvfm.line.delivery import pause
from anomalyvfm.line.sources.camera import Camera, CameraDownError, Frame, RecordingEnded
from anomalyvfm.line.sources.triggers import Fields, MessageTrigger, Trigger
from anomalyvfm.line.states import States

_log = logging.getLogger(__name__)

_LONGEST_PAUSE = 5.0
"""Seconds before a camera that is away is looked for again: the line may be running."""


class Feed:
    """Frames are handed on or dropped, never queued: a part of a minute ago is of no use to anybody."""

    def __init__(
        self,
        name: str,
        camera: Camera,
        trigger: Trigger,
        states: States,
        take: Callable[[Frame], bool],
        lose: Callable[[Fields, str], None],
        ending: threading.Event,
    ) -> None:
        """``take`` is given each frame, and says whether there is room for it.

        ``lose`` is told of a part that was asked for by message and not seen, and why. ``ending`` ends it.
        """
        self.name = name
        self.dropped = 0
        """Those for which there was no room, and parts that were asked for and not seen."""
        self.has_ended = False
        """Whether a recording is over."""
        self._camera = camera
        self._trigger = trigger
        self._states = states
        self._take = take
        self._lose = lose
        self._ending = ending
        self._state = f"source {name}"
        self._thread = threading.Thread(target=self._run, name=f"see {name}")

    @property
    def is_asked(self) -> bool:
        """Whether it takes frames when it is told to."""
        return isinstance(self._trigger, MessageTrigger)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def ask(self, fields: Fields) -> None:
        """Have the next frame judged, where it `is_asked`. Raises CameraDownError; the part is lost then."""
        assert isinstance(self._trigger, MessageTrigger)
        try:
            self._trigger.ask(fields)
        except CameraDownError as error:
            self._drop(fields, str(error))
            raise

    def _run(self) -> None:
        failures = 0
        while not self._ending.is_set():
            try:
                self._camera.open()
                self._trigger.begin()
                self._states.well(self._state)
                while not self._ending.is_set():
                    self._next()
                    failures = 0
            except RecordingEnded:
                self.has_ended = True
                _log.info("%s: the recording is over", self._state)
                break
            except CameraDownError as error:
                self._down(str(error))
            except Exception as error:  # of a camera's library, whatever it is
                _log.exception(self._state)
                self._down(f"{type(error).__name__}: {error}")
            finally:
                self._close()
            self._ending.wait(pause(failures, _LONGEST_PAUSE))
            failures += 1

    def _next(self) -> None:
        if self._camera.streams:
            self._camera.advance()
        else:
            self._trigger.wait(self._ending)
        if self._ending.is_set() or (fields := self._trigger.wanted()) is None:
            return
        try:
            picture = self._camera.frame()
        except CameraDownError as error:
            if self.is_asked:
                self._drop(fields, str(error))
            raise
        if not self._trigger.passes(picture):
            return
        if not self._take(Frame(picture, time.monotonic(), fields)):
            self._drop(fields, "the station is busy")

    def _drop(self, fields: Fields, why: str) -> None:
        self.dropped += 1
        if self.is_asked:  # else it was a moment, not a part
            self._lose(fields, why)

    def _down(self, why: str) -> None:
        self._states.trouble(self._state, f"{why}; it is tried again")

    def _close(self) -> None:
        for fields in self._trigger.lost():
            self._drop(fields, "the camera went away")
        try:
            self._camera.close()
        except Exception:
            _log.exception("closing %s", self._state)
