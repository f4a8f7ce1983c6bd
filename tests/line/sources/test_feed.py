"""Frames are handed on or dropped, and a camera that fails is opened again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from anomalyvfm.line.sources import feed as module
from anomalyvfm.line.sources.camera import CameraDownError, Frame, RecordingEnded
from anomalyvfm.line.sources.feed import Feed
from anomalyvfm.line.sources.triggers import EveryTrigger, Fields, MessageTrigger, Trigger
from anomalyvfm.line.states import States
from tests.waiting import until


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.01)


class Scripted:
    """Does what it is told at each step: opens, gives a frame, fails, or is over."""

    streams = True

    def __init__(self, *steps: str) -> None:
        self.steps = list(steps)
        self.opened = self.closed = 0
        self.go_on = threading.Semaphore(10_000)

    def open(self) -> None:
        self.opened += 1
        if self.steps and self.steps[0] == "away":
            self.steps.pop(0)
            raise CameraDownError("camera: does not answer")

    def advance(self) -> None:
        self.go_on.acquire(timeout=1)
        step = self.steps.pop(0) if self.steps else "over"
        if step == "fails":
            raise CameraDownError("camera: sends no more frames")
        if step == "breaks":
            raise RuntimeError("of the maker's library")
        if step == "over":
            raise RecordingEnded

    def frame(self) -> np.ndarray:
        return np.zeros((4, 4, 3), np.uint8)

    def close(self) -> None:
        self.closed += 1


class Line:
    def __init__(self) -> None:
        self.states = States()
        self.said: list[tuple[str, str | None]] = []
        self.states.listen(lambda name, trouble: self.said.append((name, trouble)))
        self.frames: list[Frame] = []
        self.lost: list[tuple[Fields, str]] = []
        self.room = True
        self.ending = threading.Event()
        self.feeds: list[Feed] = []

    def feed(self, camera: Scripted, trigger: Trigger) -> Feed:
        feed = Feed("top", camera, trigger, self.states, self._take, self._lose, self.ending)
        self.feeds.append(feed)
        feed.start()
        return feed

    def _take(self, frame: Frame) -> bool:
        if self.room:
            self.frames.append(frame)
        return self.room

    def _lose(self, fields: Fields, why: str) -> None:
        self.lost.append((fields, why))


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.ending.set()
    for feed in line.feeds:
        feed.join()


def test_a_camera_that_is_away_fails_or_breaks_is_opened_again_and_said_to_be_well(line: Line) -> None:
    camera = Scripted("away", "away", "frame", "fails", "frame", "breaks", "frame")
    feed = line.feed(camera, EveryTrigger(1e-9))
    feed.join()
    assert (len(line.frames), camera.opened, camera.closed) == (3, 5, 5)
    assert line.said == [
        ("source top", "camera: does not answer; it is tried again"),
        ("source top", None),
        ("source top", "camera: sends no more frames; it is tried again"),
        ("source top", None),
        ("source top", "RuntimeError: of the maker's library; it is tried again"),
        ("source top", None),
    ]
    assert (feed.dropped, feed.has_ended) == (0, True)


def test_a_frame_for_which_there_is_no_room_is_dropped_and_counted(line: Line) -> None:
    line.room = False
    feed = line.feed(Scripted(*["frame"] * 5), EveryTrigger(1e-9))
    feed.join()
    assert (len(line.frames), feed.dropped, feed.has_ended) == (0, 5, True)
    assert line.lost == []  # moments, not parts


def asked(line: Line, camera: Scripted) -> Feed:
    feed = line.feed(camera, MessageTrigger())
    until(lambda: camera.opened > 0)
    return feed


def test_each_message_has_a_frame_of_its_own_with_what_it_said(line: Line) -> None:
    camera = Scripted(*["frame"] * 1000)
    camera.go_on = threading.Semaphore(0)
    feed = asked(line, camera)
    until(_asks(feed, {"serial": "1"}))
    feed.ask({"serial": "2"})
    camera.go_on.release(3)
    until(lambda: len(line.frames) == 2)
    assert [frame.fields for frame in line.frames] == [{"serial": "1"}, {"serial": "2"}]


def test_a_part_that_was_asked_for_and_not_seen_is_told_of(line: Line) -> None:
    camera = Scripted("frame", "fails", "away", *["away"] * 10_000)
    camera.go_on = threading.Semaphore(0)
    feed = asked(line, camera)
    until(_asks(feed, {"serial": "1"}))
    feed.ask({"serial": "2"})
    camera.go_on.release(2)
    until(lambda: len(line.lost) >= 1)
    assert line.lost[-1] == ({"serial": "2"}, "the camera went away")
    with pytest.raises(CameraDownError, match="not there"):
        feed.ask({"serial": "3"})
    assert line.lost[-1] == ({"serial": "3"}, "the camera is not there")
    assert [frame.fields for frame in line.frames] == [{"serial": "1"}]


def test_a_part_for_which_there_is_no_room_is_told_of(line: Line) -> None:
    camera = Scripted(*["frame"] * 1000)
    camera.go_on = threading.Semaphore(0)
    line.room = False
    feed = asked(line, camera)
    until(_asks(feed, {"serial": "1"}))
    camera.go_on.release(1)
    until(lambda: line.lost == [({"serial": "1"}, "the station is busy")])
    assert feed.dropped == 1


def _asks(feed: Feed, fields: Fields) -> Callable[[], bool]:
    """Ask once the camera is there."""
    trigger = feed._trigger
    assert isinstance(trigger, MessageTrigger)

    def done() -> bool:
        try:
            trigger.ask(fields)
        except CameraDownError:
            return False
        return True

    return done
