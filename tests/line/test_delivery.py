"""Telling a sink: nothing is lost, nothing is held up, and what is of no use is not told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyvfm.line import delivery as module
from anomalyvfm.line.delivery import Delivery
from anomalyvfm.line.ledger import Ledger
from anomalyvfm.line.messages import Message, Outcome
from anomalyvfm.line.sinks.sink import Refusal, SinkDownError
from anomalyvfm.line.states import States
from tests.line.parts import fill, part
from tests.waiting import until


class Scripted:
    """Answers as told, one answer a try; then it takes everything."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.got: list[int] = []
        self.tries: list[int] = []
        self.closed = False

    def send(self, messages: Sequence[Message]) -> Iterator[Refusal | None]:
        for message in messages:
            self.tries.append(message.number)
            answer = self.answers.pop(0) if self.answers else "take"
            if answer == "down":
                raise SinkDownError("nobody there")
            if answer == "bug":
                raise ZeroDivisionError("oh")
            if answer in ("refuse", "never"):
                yield Refusal("no", final=answer == "never")
            else:
                self.got.append(message.number)
                yield None

    def beat(self) -> None:
        if self.answers and self.answers[0] == "away":
            self.answers.pop(0)
            raise SinkDownError("gone")

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.002)
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(module, "_BEAT_SECONDS", 0.01)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "l")


def told(delivery: Delivery, within: float = 5.0) -> Delivery:
    """A delivery that has told all it could."""
    delivery.start()
    delivery.end(within)
    delivery.join()
    return delivery


def waiting(delivery: Delivery) -> tuple[int, int]:
    """Messages that wait, and that were refused for good."""
    said = delivery.describe()
    return said["waiting"], said["given_up"]


def test_all_is_told_in_order(ledger: Ledger) -> None:
    sink = Scripted()
    delivery = Delivery("s", sink, ledger, States())
    fill(ledger, 120)
    told(delivery)
    assert sink.got == list(range(1, 121))
    assert sink.closed
    assert waiting(delivery) == (0, 0)
    assert delivery.done.delivered == 120
    assert len(delivery.done.seconds) == 120


def test_what_comes_later_is_told_when_it_comes(ledger: Ledger) -> None:
    sink = Scripted()
    delivery = Delivery("s", sink, ledger, States())
    delivery.start()
    for count in (1, 2, 3):
        fill(ledger, 1)
        delivery.wake()
        until(lambda count=count: len(sink.got) == count)  # type: ignore[misc]
    delivery.end(1)
    delivery.join()


def test_a_sink_that_is_down_gets_all_when_it_is_back_and_says_so(ledger: Ledger) -> None:
    states = States()
    heard: list[tuple[str, str | None]] = []
    states.listen(lambda name, trouble: heard.append((name, trouble)))
    sink = Scripted("take", "down", "down", "bug", "take")
    delivery = Delivery("s", sink, ledger, states)
    fill(ledger, 3)
    told(delivery)
    assert sink.got == [1, 2, 3]
    assert sink.tries == [1, 2, 2, 2, 2, 3]
    assert [name for name, _ in heard] == ["sink s"] * len(heard)
    assert "nobody there" in str(heard[0][1])
    assert "ZeroDivisionError" in str(heard[1][1])
    assert heard[-1][1] is None


def test_what_is_refused_holds_nothing_up_and_comes_again(ledger: Ledger) -> None:
    sink = Scripted("refuse", "take", "take")
    delivery = Delivery("s", sink, ledger, States())
    fill(ledger, 3)
    told(delivery)
    assert sink.got == [2, 3, 1]
    assert delivery.done.refusals == 1
    assert waiting(delivery) == (0, 0)


def test_what_is_refused_for_good_is_not_sent_again(ledger: Ledger) -> None:
    sink = Scripted("never")
    fill(ledger, 1)
    delivery = Delivery("s", sink, ledger, States())
    fill(ledger, 1)
    assert waiting(told(delivery)) == (0, 1)
    again = Scripted()
    assert waiting(told(Delivery("s", again, ledger, States()))) == (0, 1)
    assert again.tries == []


def test_a_sink_that_refuses_everything_counts_as_down(ledger: Ledger) -> None:
    states = States()
    sink = Scripted(*["refuse"] * 1000)
    delivery = Delivery("s", sink, ledger, states)
    fill(ledger, 100)
    told(delivery, within=0.3)
    assert "took none of the last messages: no" in states.troubles()["sink s"]
    assert waiting(delivery) == (100, 0)
    assert len(sink.tries) < 100  # it is not tried with each


def test_a_restart_sends_what_was_put_off_and_what_was_not_told(ledger: Ledger) -> None:
    fill(ledger, 0)
    told(Delivery("s", Scripted(), ledger, States()))
    fill(ledger, 4)
    told(Delivery("s", Scripted("take", "refuse", *["down"] * 99), ledger, States()), within=0.01)
    sink = Scripted()
    told(Delivery("s", sink, ledger, States()))
    assert sorted(sink.got) == [2, 3, 4]


def test_an_outbox_that_is_away_at_first_is_read_when_it_is_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Scripted()
    delivery = Delivery("s", sink, ledger, States())
    fill(ledger, 2)
    ledger.refused("s", 1, "no", final=False)
    put_off, tries = Ledger.put_off, iter([OSError(28, "No space left on device"), None])

    def put_off_at_last(self: Ledger, name: str) -> list[int]:
        if (error := next(tries, None)) is not None:
            raise error
        return put_off(self, name)

    monkeypatch.setattr(Ledger, "put_off", put_off_at_last)
    told(delivery)
    assert sorted(sink.got) == [1, 2]


def test_only_wanted_outcomes_are_told(ledger: Ledger) -> None:
    sink = Scripted()
    wanted: tuple[Outcome, ...] = ("anomalous",)
    delivery = Delivery("s", sink, ledger, States(), wanted=wanted)
    outcomes: tuple[Outcome, ...] = ("good", "anomalous", "refused", "good")
    for outcome in outcomes:
        fill(ledger, 1, outcome)
    told(delivery)
    assert sink.got == [2]
    assert waiting(delivery) == (0, 0)


def test_what_is_too_late_is_not_told(ledger: Ledger) -> None:
    sink = Scripted()
    delivery = Delivery("s", sink, ledger, States(), max_age=60)
    ledger.add(part(ledger, arrived=time.monotonic() - 61))
    fill(ledger, 1)
    told(delivery)
    assert sink.got == [2]
    assert delivery.done.too_late == 1
    assert waiting(delivery) == (0, 0)


def test_much_that_is_too_late_is_passed_over_at_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Scripted()
    delivery = Delivery("s", sink, ledger, States(), max_age=60)
    for _ in range(200):
        ledger.add(part(ledger, arrived=time.monotonic() - 61))
    fill(ledger, 2)
    notes: list[int] = []
    note = Ledger.told

    def counted(self: Ledger, name: str, number: int) -> None:
        notes.append(number)
        note(self, name, number)

    monkeypatch.setattr(Ledger, "told", counted)
    told(delivery)
    assert sink.got == [201, 202]
    assert delivery.done.too_late == 200
    assert len(notes) < 10


def test_what_soon_is_of_no_use_does_not_wait_long_for_a_sink_that_is_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 60.0)
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 60.0)
    sink = Scripted("down", "down")
    delivery = Delivery("s", sink, ledger, States(), max_age=0.05)
    fill(ledger, 1)
    delivery.start()
    until(lambda: not sink.answers or delivery.done.too_late > 0)
    fill(ledger, 1)
    until(lambda: delivery.done.delivered + delivery.done.too_late == 2)
    delivery.end(1)
    delivery.join()


def test_a_sink_that_goes_while_there_is_nothing_to_tell_is_noticed(ledger: Ledger) -> None:
    states = States()
    heard: list[str | None] = []
    states.listen(lambda _, trouble: heard.append(trouble))
    told(Delivery("s", Scripted("away"), ledger, states), within=0.2)
    delivery = Delivery("s", Scripted("away"), ledger, states)
    delivery.start()
    until(lambda: len(heard) >= 2)
    delivery.end(1)
    delivery.join()
    assert heard[:2] == ["gone; what it is to be told waits", None]


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["take", "down", "refuse", "bug"]), max_size=25), st.integers(0, 12))
def test_each_part_is_taken_once_whatever_the_sink_does(
    tmp_path_factory: pytest.TempPathFactory, answers: list[str], count: int
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "l")
    sink = Scripted(*answers)
    delivery = Delivery("s", sink, ledger, States())
    fill(ledger, count)
    told(delivery)
    assert Counter(sink.got) == Counter(range(1, count + 1))
    ledger.close()
