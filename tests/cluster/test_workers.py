"""How workers share what machines have, and how long they are waited for."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.cluster import workers
from anomalyvfm.cluster.progress import Progress
from anomalyvfm.cluster.workers import Cluster, Workers, share
from anomalyvfm.errors import InputError

MACHINES = st.lists(st.integers(1, 64), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("have", "workers", "each"),
    [
        ([2], 2, 1),
        ([2], 1, 2),
        ([2], 4, 1 / 2),
        ([1, 1], 1, 1),  # not two, which no machine has
        ([1], 3, 0.3333),
        ([1, 1], 3, 1 / 2),  # not two thirds, of which each machine has but one
        ([4, 2], 3, 2),
        ([5, 1], 3, 1),  # of two each, there would be two
        ([64, 8, 8], 3, 21),
    ],
)
def test_each_has_the_most_that_lets_all_be_somewhere(have: list[float], workers: int, each: float) -> None:
    assert share(have, workers) == each


@given(MACHINES, st.integers(1, 64))
def test_all_fit_and_none_could_have_more(have: list[float], workers: int) -> None:
    def fit(each: float) -> int:
        return sum(int(one / each + 1e-9) for one in have)

    each = share(have, workers)
    assert fit(each) >= workers
    larger = each + 1 if each >= 1 else 1 / (round(1 / each) - 1)
    assert fit(larger) < workers


class Reference(str):
    """What a call of a worker is awaited by."""


class SlowRay(SimpleNamespace):
    """A cluster whose worker takes long to be ready, if a machine has room for it at all."""

    exceptions = SimpleNamespace(RayTaskError=ZeroDivisionError, RayError=ZeroDivisionError)

    def __init__(self, placed: bool, ready_after: int) -> None:
        super().__init__(placed=placed, ready_after=ready_after, killed=0)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 2.0}}]

    def put(self, job: Any) -> Any:
        return job

    def kill(self, actor: Any) -> None:
        self.killed += 1

    def remote(self, made: Any) -> Any:
        def called(name: str) -> Any:
            return SimpleNamespace(remote=lambda *given: Reference(name))

        actor = SimpleNamespace(prepare=called("prepare"), seen=called("seen"), do=called("do"))
        return SimpleNamespace(options=lambda **given: SimpleNamespace(remote=lambda *given: actor))

    def wait(self, references: list[Reference], **given: Any) -> tuple[list[Reference], list[Reference]]:
        self.ready_after -= "prepare" in references
        there = [
            one
            for one in references
            if one == "do" or (one == "seen" and self.placed) or (one == "prepare" and self.ready_after < 0)
        ]
        return there, []

    def get(self, reference: Reference) -> Any:
        return {"prepare": "here", "do": (None, 1.0), "seen": 0}[reference]


class Task:
    count = 1

    def carefully(self) -> Task:
        return self


@pytest.mark.parametrize("placed", [True, False])
def test_a_worker_that_loads_is_waited_for_and_one_that_has_no_room_is_not(
    monkeypatch: pytest.MonkeyPatch, placed: bool
) -> None:
    ray = SlowRay(placed, ready_after=20)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(workers, "_PATIENCE", 0.0)
    at_work = Workers(Cluster(), object(), [], Progress(1), lambda progress: None, tasks=1)  # type: ignore[arg-type]
    tasks = [Task()]
    if placed:
        assert list(at_work.do(tasks)) == tasks
    else:
        with pytest.raises(InputError, match="no machine of the cluster had 2 CPUs free"):
            list(at_work.do(tasks))
    at_work.close()
    assert ray.killed == 1
