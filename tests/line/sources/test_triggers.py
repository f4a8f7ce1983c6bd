"""When a frame shows a part."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyvfm.line.sources.camera import CameraDownError
from anomalyvfm.line.sources.triggers import EveryTrigger, MessageTrigger, MotionTrigger

RNG = np.random.default_rng(0)


def scene(part: int | None = None, level: int = 90, side: int = 240) -> NDArray[np.uint8]:
    """A noisy picture of an empty place, or of a part that is so far across it."""
    picture = np.full((side, side * 4 // 3, 3), level, np.float64) + RNG.normal(
        0, 4, (side, side * 4 // 3, 1)
    )
    if part is not None:
        picture[100:130, part : part + 30] += 60
    return picture.clip(0, 255).astype(np.uint8)


def passed(trigger: MotionTrigger, *scenes: NDArray[np.uint8]) -> list[int]:
    return [number for number, picture in enumerate(scenes) if trigger.passes(picture)]


def test_a_part_that_came_and_lies_still_is_seen_once() -> None:
    scenes = [scene(), scene(), scene(20), scene(80), scene(140), scene(140), scene(140), scene(140)]
    assert passed(MotionTrigger(0.1, 8), *scenes) == [5]


def test_noise_and_slow_light_are_no_motion() -> None:
    assert passed(MotionTrigger(0.1, 8), *(scene(140, level=90 + n // 4) for n in range(80))) == []


def test_the_empty_place_is_no_part_and_the_next_part_is_one_though_it_looks_the_same() -> None:
    two = [scene(140), scene(200), scene(), scene(), scene(30), scene(140), scene(140), scene(140)]
    assert passed(MotionTrigger(0.1, 8, empty=scene()), *two) == [6]
    assert passed(MotionTrigger(0.1, 8), *two) == [3, 6]


def test_what_changed_while_the_camera_was_away_has_not_moved() -> None:
    trigger = MotionTrigger(0.1, 8)
    assert passed(trigger, scene(), scene()) == []
    trigger.begin()
    assert passed(trigger, scene(140), scene(140), scene(140)) == []


@given(st.integers(1, 60), st.integers(1, 60))
def test_pictures_of_any_size_can_be_looked_at(height: int, width: int) -> None:
    trigger = MotionTrigger(0.1, 8)
    dark, light = (np.full((height, width, 3), level, np.uint8) for level in (10, 200))
    assert passed(trigger, dark, light, light, light, light[:1]) == [2]


def test_a_frame_every_so_often_keeps_its_step() -> None:
    trigger = EveryTrigger(0.05)
    seen = []
    end = time.monotonic() + 0.5
    while (now := time.monotonic()) < end:
        if trigger.wanted() is not None:
            seen.append(now)
        time.sleep(0.002)
    assert 9 <= len(seen) <= 11
    ending = threading.Event()
    trigger.wait(ending)
    assert trigger.wanted() == {}


def test_a_message_waits_for_a_camera_that_is_there_and_no_longer() -> None:
    trigger = MessageTrigger()
    with pytest.raises(CameraDownError, match="not there"):
        trigger.ask({})
    trigger.begin()
    trigger.ask({"serial": "1"})
    trigger.ask({"serial": "2"})
    assert trigger.wanted() == {"serial": "1"}
    started = time.monotonic()
    trigger.wait(threading.Event())
    assert time.monotonic() - started < 0.1, "one that was asked for meanwhile is not waited for"
    assert trigger.lost() == [{"serial": "2"}]
    assert trigger.wanted() is None
    trigger.begin()
    for _ in range(8):
        trigger.ask({})
    with pytest.raises(CameraDownError, match="more than come"):
        trigger.ask({})
