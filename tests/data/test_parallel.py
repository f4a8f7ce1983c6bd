from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyvfm.data.parallel import read_many
from anomalyvfm.data.pixels import ImageError


def counted(limit: int, drawn: list[int]) -> Iterator[int]:
    for number in range(limit):
        drawn.append(number)
        yield number


@settings(deadline=None)
@given(count=st.integers(0, 40), workers=st.integers(1, 6), ahead=st.integers(1, 20))
def test_results_come_in_order_whatever_the_threads(count: int, workers: int, ahead: int) -> None:
    results = list(read_many(range(count), lambda number: number * number, workers, ahead))
    assert results == [(number, number * number) for number in range(count)]


def test_slow_first_reads_do_not_change_the_order() -> None:
    def read(number: int) -> int:
        time.sleep(0.02 if number % 4 == 0 else 0)
        return -number

    assert [value for _, value in read_many(range(12), read, workers=4)] == [-number for number in range(12)]


def test_sources_are_drawn_no_further_than_the_look_ahead() -> None:
    drawn: list[int] = []
    results = read_many(counted(10_000, drawn), lambda number: number, workers=2, ahead=5)
    assert drawn == []
    for taken in range(1, 30):
        next(results)
        assert len(drawn) <= taken + 5
    results.close()


def test_an_endless_source_can_be_read() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 1

    results = read_many(endless(), lambda number: number)
    assert [next(results) for _ in range(100)] == [(1, 1)] * 100
    results.close()


def test_reads_really_run_at_the_same_time() -> None:
    # Each read waits until all three are under way: one thread alone would break the barrier.
    together = threading.Barrier(3, timeout=5)
    assert len(list(read_many(range(3), lambda _: together.wait(), workers=3, ahead=1))) == 3


def test_an_image_error_is_a_value_and_the_rest_goes_on() -> None:
    def read(number: int) -> int:
        if number == 2:
            raise ImageError("2: damaged")
        return number

    values = [value for _, value in read_many(range(5), read)]
    assert isinstance(values[2], ImageError)
    assert values[:2] + values[3:] == [0, 1, 3, 4]


def test_any_other_exception_is_raised_in_its_turn() -> None:
    def read(number: int) -> int:
        if number == 3:
            raise ZeroDivisionError
        return number

    results = read_many(range(8), read, workers=4)
    assert [next(results)[1] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("stop", ["early", "error"])
def test_no_thread_is_left_when_the_caller_stops(stop: str) -> None:
    before = set(threading.enumerate())
    read: list[int] = []

    def slowly(number: int) -> None:
        time.sleep(0.02)
        read.append(number)

    results = read_many(range(1000), slowly, workers=2, ahead=12)
    next(results)
    if stop == "early":
        results.close()
    else:
        with pytest.raises(RuntimeError):
            results.throw(RuntimeError)
    assert set(threading.enumerate()) == before
    # The first, what was running by then, and nothing of what only waited.
    assert len(read) <= 5
