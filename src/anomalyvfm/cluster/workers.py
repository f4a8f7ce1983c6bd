"""Workers on Ray: each an actor that prepares once and does one task after another, replaced when it dies."""

from __future__ import annotations

import itertools
import logging
import math
import os
import secrets
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

from anomalyvfm.cluster.progress import Progress
from anomalyvfm.data.parallel import cores
from anomalyvfm.errors import InputError
from anomalyvfm.version import __version__

# Seconds between two looks at how far each worker is.
_LOOK = 2.0
# As long as a cluster may have room for no worker.
_PATIENCE = 120.0
# A task that so many workers have died over is done carefully from then on, and one that has cost many more
# is given up: nothing here would bring it to an end.
_CAREFUL_AFTER, _GIVEN_UP_AFTER = 2, 30
_READYING = "getting ready"
# Nothing goes by Ray's store of objects but tasks; this is the least it takes, in bytes.
_STORE = 80 << 20


Listen: TypeAlias = Callable[[Progress], None]
Show: TypeAlias = Callable[[], AbstractContextManager[Listen]]
"""Opens what tells people how far the workers are, and is closed when these are done."""


@contextmanager
def unshown() -> Iterator[Listen]:
    """Tells nobody."""
    yield lambda progress: None


class Task(Protocol):
    """What a worker does at a time: plain data."""

    @property
    def count(self) -> int:
        """Images."""

    def carefully(self) -> Any:
        """The same, with bad input kept from bringing the worker down."""


TaskT = TypeVar("TaskT", bound=Task)


class Job(Protocol):
    """What workers do; sent to each of them before it has prepared."""

    def prepare(self) -> None:
        """Load what all tasks need. Raises InputError where this machine has it not."""

    def do(self, task: Any, seen: Callable[[int], None]) -> Any:
        """Do a task again and again with the same result; ``seen`` is told of images that have gone by."""


@dataclass(frozen=True)
class Cluster:
    """Where workers are, and how many."""

    address: str | None = None
    """Of a cluster that runs; None: the one RAY_ADDRESS names, or one on this machine for this run alone."""
    workers: int | None = None
    """None: one for each CPU, or GPU where these are used."""


@contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Connect with a cluster, or start one here. Raises InputError where that cannot be."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    _give_token(address)
    try:
        import ray
    except ImportError:
        raise InputError(
            "--engine ray: Ray is not installed; pip install 'anomalyvfm[ray]', on every machine"
        ) from None
    quiet = {"logging_level": logging.CRITICAL, "log_to_driver": False, "include_dashboard": False}
    if address is None:
        count = cluster.workers or cores()
        ray.init("local", num_cpus=max(count, cores()), object_store_memory=_STORE, **quiet)
    else:
        _require_answer(address)
        quiet.pop("include_dashboard")
        try:
            ray.init(address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"--address {address}: no cluster that lets us in ({reason}); it must be of the same version"
                " of Ray, and where it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
            ) from None
    try:
        # Ray tells of each worker that dies on stdout, which is the result's; we tell of them ourselves.
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            yield
            ray.shutdown()
    finally:
        ray.shutdown()


def _give_token(address: str | None) -> None:
    """What Ray is to let us in by: it reads these when it is first imported."""
    try:
        kept = (Path.home() / ".ray" / "auth_token").is_file()  # made by `ray start`, which asks for it
    except (OSError, RuntimeError):  # nobody is at home
        kept = False
    if address is not None:
        if kept:
            os.environ.setdefault("RAY_AUTH_MODE", "token")
    elif not kept:  # one of this process, where Ray would write one at home
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _require_answer(address: str) -> None:
    """Raise InputError, within seconds, where nothing listens: Ray itself would try for a minute."""
    place = address.removeprefix("ray://")
    host, _, port = place.rpartition(":")
    if address in ("auto", "local") or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise InputError(
            f"--address {address}: no cluster there ({error.strerror or error}); start one with"
            f" `ray start --head --port {port}`, or leave it out to use this machine alone"
        ) from None


@dataclass(frozen=True)
class Machine:
    """What a machine of a cluster lets workers have."""

    cpus: float
    gpus: float


def capacity(cluster: Cluster, gpus: bool) -> tuple[int, list[Machine]]:
    """How many workers there can be, and on which machines. Raises InputError where there can be none."""
    import ray

    has = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    machines = [Machine(one.get("CPU", 0.0), one.get("GPU", 0.0)) for one in has]
    if gpus:
        machines = [machine for machine in machines if machine.gpus]
        if not machines:
            raise InputError("--device cuda: no machine of the cluster has a GPU; leave it out")
    machines = [machine for machine in machines if machine.cpus]
    if not machines:
        raise InputError("the cluster has no CPU; start a machine of it with --num-cpus")
    return cluster.workers or int(sum(one.gpus if gpus else one.cpus for one in machines)), machines


def share(have: Sequence[float], workers: int) -> float:
    """The most that each of so many workers can have, of what the machines ``have``.

    Whole ones, or an equal part of one: Ray gives no more than one in parts, and these by ten-thousandths.
    """
    for whole in range(int(sum(have) / workers), 0, -1):
        if sum(int(one / whole) for one in have) >= workers:
            return float(whole)
    sharing = next(count for count in itertools.count(2) if sum(int(one * count) for one in have) >= workers)
    return math.floor(10_000 / sharing) / 10_000


class _Actor:
    """A worker; what Ray makes an actor of."""

    def __init__(self, job: Job, cpus: float) -> None:
        self._job = job
        self._cores = max(1, min(int(cpus), cores()))
        self._seen = 0

    def prepare(self, working: str, probes: Sequence[str], version: str) -> str:
        """The machine's name. Raises InputError where it lacks what tasks need."""
        import torch

        from anomalyvfm.data.parallel import use_cores

        name = socket.gethostname()
        if version != __version__:
            raise InputError(
                f"{name}: has anomalyvfm {__version__}, and the run was started with {version}; install that"
            )
        if Path(working).is_dir():
            os.chdir(working)  # so that a relative path means the same
        for probe in probes:
            if not Path(probe).exists():
                raise InputError(
                    f"{probe}: not there on {name}; every machine of the cluster must see the images and the"
                    " folder of --out under the same paths"
                )
        use_cores(self._cores)
        torch.set_num_threads(self._cores)
        self._job.prepare()
        return name

    def do(self, task: Any) -> tuple[Any, float]:
        """A task's result, and the seconds it took."""
        import torch

        torch.set_num_threads(self._cores)  # this thread may not be the one that prepared
        started = time.perf_counter()
        self._seen = 0
        return self._job.do(task, self._note), time.perf_counter() - started

    def seen(self) -> int:
        return self._seen

    def _note(self, images: int) -> None:
        self._seen = images


class Workers:
    """Does tasks in any order, each until it is done, whichever workers die meanwhile.

    There are no more workers than ``tasks`` at first. ``probes`` are paths that every machine must see,
    ``listen`` is told now and then how far all is.
    """

    def __init__(
        self,
        cluster: Cluster,
        job: Job,
        probes: Sequence[str],
        progress: Progress,
        listen: Listen,
        tasks: int,
        gpus: bool = False,
    ) -> None:
        import ray

        self._ray = ray
        self._progress = progress
        self._listen = listen
        self._probes = list(probes)
        most, machines = capacity(cluster, gpus)
        wanted = max(1, min(tasks, most))
        self._cpus = share([machine.cpus for machine in machines], wanted)
        options: dict[str, Any] = {
            "num_cpus": self._cpus,
            "max_concurrency": 2,
            "scheduling_strategy": "SPREAD",
        }
        if gpus:
            options["num_gpus"] = min(1.0, share([machine.gpus for machine in machines], wanted))
        self._make = ray.remote(_Actor).options(**options)
        self._job = ray.put(job)
        # By reference to what is awaited: the worker, its name, and its task where it has one.
        self._starting: dict[Any, tuple[Any, str]] = {}
        self._busy: dict[Any, tuple[Any, str, Any]] = {}
        self._idle: list[tuple[Any, str]] = []
        self._made = 0
        self._cost: Counter[str] = Counter()
        self.waiting: deque[Any] = deque()
        for _ in range(wanted):
            self._start_one()

    def do(self, tasks: Iterable[TaskT]) -> Iterator[TaskT]:
        """The tasks as they are done, and those that are put to ``waiting`` meanwhile.

        Raises what a task raises, and InputError where no worker comes to be, or all die over a task.
        """
        self.waiting.extend(tasks)
        patience = time.monotonic() + _PATIENCE
        while self.waiting or self._busy:
            while self.waiting and self._idle:
                actor, name = self._idle.pop(0)
                task = self.waiting.popleft()
                self._busy[actor.do.remote(task)] = actor, name, task
            done, _ = self._ray.wait([*self._busy, *self._starting], num_returns=1, timeout=_LOOK)
            for reference in done:
                if reference in self._starting:
                    self._take_in(reference)
                else:
                    task = self._take_result(reference)
                    if task is not None:
                        yield task
            if self._busy or self._idle or (time.monotonic() > patience and self._is_loading()):
                patience = time.monotonic() + _PATIENCE
            elif time.monotonic() > patience:
                raise InputError(
                    f"no machine of the cluster had {self._cpus:g} CPUs free for {_PATIENCE:.0f} s; wait for"
                    " other work on it, or take more --workers of fewer CPUs each"
                )
            if not done:
                self._look()
            self._listen(self._progress)

    def close(self) -> None:
        """Let all workers go."""
        for actor, *_ in (*self._starting.values(), *self._busy.values(), *self._idle):
            self._ray.kill(actor)

    def _start_one(self) -> None:
        self._made += 1
        actor = self._make.remote(self._job, self._cpus)
        ready = actor.prepare.remote(str(Path.cwd()), self._probes, __version__)
        self._starting[ready] = actor, f"worker {self._made}"

    def _take_in(self, reference: Any) -> None:
        """A worker that is ready, or one that died before."""
        actor, name = self._starting.pop(reference)
        try:
            host = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except self._ray.exceptions.RayError as error:
            self._lost(name, _READYING, error)
            return
        name = f"{name} on {host}"
        self._idle.append((actor, name))
        self._progress.came(name)
        self._cost[_READYING] = 0

    def _take_result(self, reference: Any) -> Any:
        """The task that is done; None where its worker has died."""
        actor, name, task = self._busy.pop(reference)
        try:
            _, seconds = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except self._ray.exceptions.RayError as error:
            self._lost(name, str(task), error)
            careful = self._cost[str(task)] >= _CAREFUL_AFTER
            self.waiting.appendleft(task.carefully() if careful else task)
            return None
        self._idle.append((actor, name))
        self._progress.end(name, str(task), task.count, seconds)
        return task

    def _lost(self, name: str, doing: str, error: Exception) -> None:
        """A worker has died: another takes its place. Raises InputError where that does not help."""
        reason = " ".join(str(error).split())[:300]
        self._progress.went(name, doing, reason)
        self._cost[doing] += 1
        if self._cost[doing] >= _GIVEN_UP_AFTER:
            raise InputError(
                f"{doing}: {self._cost[doing]} workers died over it, the last with: {reason}; look at its"
                " images and at the memory of the machines, and go on with --resume"
            )
        self._start_one()

    def _is_loading(self) -> bool:
        """Whether a worker that is not ready has come to be, and takes long over what it loads."""
        asked = [actor.seen.remote() for actor, _ in self._starting.values()]
        answered, _ = self._ray.wait(asked, num_returns=1, timeout=_LOOK)
        return bool(answered)

    def _look(self) -> None:
        """Ask each worker how far it is."""
        asked = {actor.seen.remote(): name for actor, name, _ in self._busy.values()}
        if not asked:
            return
        answered, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=_LOOK)
        for reference in answered:
            with suppress(self._ray.exceptions.RayError):  # what it was at says so, too
                self._progress.seen(asked[reference], self._ray.get(reference))


def _cause(error: Any) -> BaseException:
    """What a worker raised, as it would have been raised here."""
    cause = error.cause
    return cause if isinstance(cause, BaseException) else error
