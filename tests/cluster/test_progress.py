"""How far a cluster is, told by a clock that a test sets."""

from __future__ import annotations

import json

import pytest

from anomalyvfm.cluster.progress import Progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rates_and_the_end_follow_from_what_has_gone_by() -> None:
    clock = Clock()
    progress = Progress(1000, done=200, clock=clock)
    assert progress.seconds_left is None
    progress.came("a")
    progress.came("b")
    clock.now += 10
    progress.seen("a", 60)
    progress.seen("b", 20)
    assert progress.count == 280
    assert progress.rates() == pytest.approx({"a": 6.0, "b": 2.0})
    assert progress.rate == pytest.approx(8.0)
    assert progress.seconds_left == pytest.approx(720 / 8)
    progress.end("a", "part 1", 100, 12.0)
    assert progress.count == 320
    assert progress.rates()["a"] == pytest.approx(10.0)


def test_what_a_dead_worker_was_at_no_longer_counts() -> None:
    progress = Progress(100, clock=Clock())
    progress.came("a")
    progress.seen("a", 30)
    progress.went("a", "part 3", "killed")
    progress.seen("a", 40)  # a late answer
    assert (progress.count, progress.rates(), len(progress.lost)) == (0, {}, 1)


def test_stragglers_took_twice_as_long_for_an_image_as_most() -> None:
    progress = Progress(100, clock=Clock())
    for number, seconds in enumerate([10.0, 11.0, 9.0, 21.0, 80.0]):
        progress.end("a" if number < 3 else "b", f"part {number}", 20, seconds)
    progress.end("b", "the sums of 5 parts", 0, 500.0)
    assert [one.task for one in progress.stragglers()] == ["part 4"]
    summary = json.loads(json.dumps(progress.as_dict()))
    assert summary["workers"]["a"] == {"images": 60, "busy_seconds": 30.0, "images_per_second": 2.0}
    assert summary["stragglers"] == [{"task": "part 4", "worker": "b", "images": 20, "seconds": 80.0}]
