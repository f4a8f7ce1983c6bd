"""A folder as the line fills it, watched day and night: each file is judged once, and everybody is told.

From file to message: the folder is looked at → whole files are read and decoded, and pass the gate → a
batch is judged → verdicts enter the ledger → sinks are told, and results are filed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data import ImageError, read_source
from anomalyvfm.data.parallel import cores
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.errors import InputError
from anomalyvfm.files import shortened
from anomalyvfm.line.barcodes import read_codes
from anomalyvfm.line.delivery import quantiles
from anomalyvfm.line.fields import plain
from anomalyvfm.line.filing import PARTS, Filing, Picture, Then
from anomalyvfm.line.folder import FileFound, WatchedFolder, state_of
from anomalyvfm.line.ledger import LEDGER, Ledger, Part, Unfiled
from anomalyvfm.line.messages import Outcome, describe
from anomalyvfm.line.settings import LineSettings
from anomalyvfm.line.sinks.opening import open_deliveries
from anomalyvfm.line.states import States
from anomalyvfm.predictions.writing import Judge

_log = logging.getLogger(__name__)

STATUS = "status.json"
_STATUS_SECONDS = 1.0
_PAUSE_SECONDS = 1.0
_PATIENCE_SECONDS = 5.0
"""After so long without a change a file that is no whole image is refused."""
_LARGEST_FILE = 1 << 30
_REMEMBERED = 2_000

Overlays = Literal["all", "anomalous", "none"]


@dataclass(frozen=True)
class WatchSettings:
    """How a folder is watched."""

    folder: Path
    out: Path
    line: LineSettings
    model: Mapping[str, str]
    """What messages say of the model: its name and checksum."""
    maps: Overlays = "anomalous"
    then: Then = "leave"
    settle: float = 0.5
    """Seconds that a file must not have changed, where the system cannot tell whether it is being written."""
    poll: float = 0.05
    """Seconds between two looks at the folder, at least."""
    once: bool = False
    """End when what lies there is judged."""
    flush: float = 5.0
    """Seconds that sinks have at the end to be told what waits."""


@dataclass(frozen=True)
class _Taken:
    """A file that was read: an image that may be judged, or why it is refused."""

    file: FileFound
    sha256: str | None
    image: NDArray[np.uint8] | None
    error: str | None = None
    codes: Sequence[str] = ()
    """What bar codes in it say."""


class Watch:
    """Opened over an out folder of its own; `run` goes on until it is stopped."""

    def __init__(self, judge: Judge, settings: WatchSettings) -> None:
        """Raises InputError where the folder is not there, or a sink or the ledger cannot be opened."""
        if not settings.folder.is_dir():
            raise InputError(f"{settings.folder}: no such folder; name the one that the line fills")
        self._settings = settings
        self._judge = judge
        self._judging = threading.Lock()
        self.states = States()
        self._ledger = Ledger(settings.out / LEDGER)
        is_known = self._ledger.is_judged if settings.then == "leave" else self._ledger.is_to_move
        self._folder = WatchedFolder(
            settings.folder, is_known, settings.settle, _PATIENCE_SECONDS, without=settings.out
        )
        self._deliveries = open_deliveries(settings.line, self._ledger, self.states)
        self._counts = Counter[Outcome]()
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
        self._taken: queue.Queue[Future[_Taken | None]] = queue.Queue(judge.together + 2 * cores())
        self._some = threading.Event()
        """There may be something to judge, or nothing more to come."""
        self._stopping = threading.Event()
        self._all_seen = threading.Event()
        """With ``once``: whatever lies in the folder has been read."""
        self._written = -math.inf
        self._handed = self._read = 0
        """Files that were given to be read, and those that have been."""

    def stop(self) -> None:
        """End after the files at hand; those not judged are judged by the next run."""
        self._stopping.set()
        self._some.set()

    def run(self, tell: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
        """Watch until stopped, telling of every part; what was done, for a summary."""
        filing = Filing(
            self._ledger,
            self._settings.folder,
            self._settings.out,
            self._settings.then,
            self._redraw,
            self.states,
        )
        for delivery in self._deliveries:
            delivery.start()
        intake = threading.Thread(target=self._take_files, name="look at the folder")
        intake.start()
        try:
            while not self._stopping.is_set() and not self._all_seen.is_set():
                for taken, verdict in self._judged():
                    self._process(taken, verdict, filing, tell)
                    self._write_status(_STATUS_SECONDS)
                self._write_status(_STATUS_SECONDS)
                self._some.wait(_STATUS_SECONDS)
                self._some.clear()
        finally:
            self._stopping.set()
            intake.join()
            filing.close(math.inf if self._settings.once else self._settings.flush)
            for delivery in self._deliveries:
                delivery.end(self._settings.flush)
            for delivery in self._deliveries:
                delivery.join()
            self._write_status()
            status = self.status()
            self._ledger.close()
        return status

    def status(self) -> dict[str, Any]:
        """How it fares: troubles, counts since the start, times, and what waits."""
        return {
            "troubles": self.states.troubles(),
            "judged": {
                "good": self._counts["good"],
                "anomalous": self._counts["anomalous"],
                "refused": self._counts["refused"],
            },
            "growing": self._folder.growing,
            "ms": quantiles(self._seconds),
            "sinks": {delivery.name: delivery.describe() for delivery in self._deliveries},
        }

    def _take_files(self) -> None:
        """Look, and have whole files read, no more of them than can wait; the others wait in the folder."""
        with ThreadPoolExecutor(cores(), thread_name_prefix="read") as readers:
            while not self._stopping.is_set():
                started = time.monotonic()
                try:
                    found = self._folder.look()
                    self.states.well("folder")
                except Exception as error:
                    if not isinstance(error, OSError):  # whatever it is, the next look may be without it
                        _log.exception("looking at the folder")
                    reason = getattr(error, "strerror", None) or error
                    self.states.trouble("folder", f"{self._settings.folder}: {reason}; it is looked for")
                    self._stopping.wait(_PAUSE_SECONDS)
                    continue
                seconds = time.monotonic() - started
                for file in found:
                    if not self._hand_on(readers.submit(self._take, file)):
                        return
                all_read = self._read == self._handed  # asked first: one that proves broken grows again
                if self._settings.once and not found and all_read and not self._folder.growing:
                    self._all_seen.set()
                    self._some.set()
                # A look at very many files takes its time, and is not to take all of a core.
                self._stopping.wait(max(self._settings.poll, 2 * seconds))

    def _hand_on(self, taken: Future[_Taken | None]) -> bool:
        while not self._stopping.is_set():
            with suppress(queue.Full):
                self._taken.put(taken, timeout=0.2)
                self._handed += 1
                self._some.set()
                return True
        return False

    def _take(self, file: FileFound) -> _Taken | None:
        """None where there is nothing to judge, or not yet."""
        path = self._settings.folder / file.path
        try:
            if file.state.size > _LARGEST_FILE:
                return _Taken(file, None, None, f"decode: {file.state.size >> 20} MiB is no image's size")
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._broken(file, None, f"decode: cannot be read ({error.strerror})")
        if len(content) != file.state.size or state_of(path) != file.state:  # it has grown meanwhile
            self._folder.again(file)
            return None
        sha256 = hashlib.sha256(content).hexdigest()
        try:
            if self._settings.then == "leave" and self._ledger.is_same(file.path, sha256, file.state):
                return None
        except OSError as error:
            self.states.trouble("ledger", f"{error.filename}: {error.strerror}; judging waits for it")
            self._folder.again(file)
            return None
        try:
            image = read_source(content, self._judge.settings.image)
        except ImageError as error:
            return self._broken(file, sha256, f"decode: {str(error).removeprefix('image data: ')}")
        barcodes = self._settings.line.barcodes
        codes = () if barcodes is None else tuple(read_codes(image, barcodes.formats, barcodes.area))
        if (reason := self._settings.line.gate.refusal(image)) is not None:
            return _Taken(file, sha256, None, reason, codes)
        return _Taken(file, sha256, image, codes=codes)

    def _broken(self, file: FileFound, sha256: str | None, why: str) -> _Taken | None:
        """Refused, unless more of it may come."""
        if file.settled:
            return _Taken(file, sha256, None, why)
        self._folder.again(file)
        return None

    def _process(
        self, taken: _Taken, verdict: Verdict | str, filing: Filing, tell: Callable[[Mapping[str, Any]], None]
    ) -> None:
        """Keep what was judged, and pass it on."""
        part = self._part(self._ledger.next_number, taken, verdict)
        if not self._keep(part):
            return
        self._counts[part.outcome] += 1
        self._seconds.append(time.monotonic() - part.arrived)
        for delivery in self._deliveries:
            delivery.wake()
        picture = None
        if isinstance(verdict, Verdict) and taken.image is not None and self._is_drawn(verdict):
            picture = Picture(taken.image, verdict)
        filing.add(Unfiled(part.number, part.path, part.state, part.stored, part.message), picture)
        tell(json.loads(part.message))

    def _waiting(self) -> Iterator[_Taken]:
        """What has been read by now, in the order it came; ends as soon as nothing waits."""
        while not self._stopping.is_set() and not self._taken.empty():
            taken = self._taken.get().result()
            self._read += 1
            if taken is not None:
                yield taken

    def _judged(self) -> Iterator[tuple[_Taken, Verdict | str]]:
        """What waits, each with its verdict or why there is none, until nothing waits.

        The model is given one image after another for as long as there are any, so that it works on one while
        another is prepared.
        """
        refused: deque[_Taken] = deque()
        under_way: deque[_Taken] = deque()

        def images() -> Iterator[NDArray[np.uint8]]:
            for taken in self._waiting():
                if taken.image is None:
                    refused.append(taken)
                else:
                    under_way.append(taken)
                    yield taken.image

        try:
            with self._judging:
                for _, verdict in self._judge.judge(images()):
                    yield under_way.popleft(), verdict if isinstance(verdict, Verdict) else str(verdict)
                    while refused:
                        yield (taken := refused.popleft()), taken.error or ""
        except Exception:  # one image must not end the watch: which is it?
            for taken in under_way:
                assert taken.image is not None
                yield taken, self._verdict(taken.image)
        for taken in refused:
            yield taken, taken.error or ""

    def _verdict(self, image: NDArray[np.uint8]) -> Verdict | str:
        """Of one image alone, or why there is none."""
        try:
            with self._judging:
                ((_, verdict),) = self._judge.judge([image])
        except Exception as error:
            _log.exception("an image could not be judged")
            return f"judging failed ({type(error).__name__}: {' '.join(str(error).split())})"
        return str(verdict) if isinstance(verdict, ImageError) else verdict

    def _part(self, number: int, taken: _Taken, verdict: Verdict | str) -> Part:
        path = taken.file.path
        place = self._place(path, number)
        if isinstance(verdict, Verdict):
            map_ = f"{PARTS}/{place.as_posix()}.map.jpg" if self._is_drawn(verdict) else None
            said = {**verdict.as_dict(), "map": map_}
        else:
            said = {"error": verdict}
        now = time.time()
        part_id = self._ledger.new_id()
        content = describe(
            number=number,
            part_id=part_id,
            at=now,
            path=plain(path.as_posix()),
            sha256=taken.sha256,
            fields=self._settings.line.fields.of(path, datetime.fromtimestamp(now), taken.codes),
            model=self._settings.model,
            verdict=said,
        )
        return Part(
            number=number,
            id=part_id,
            path=path,
            state=taken.file.state,
            sha256=taken.sha256,
            stored=place,
            outcome=content["outcome"],
            message=json.dumps(content, allow_nan=False, ensure_ascii=False),
            arrived=taken.file.seen,
        )

    def _place(self, path: Path, number: int) -> Path:
        """Where below parts/ a file's results go: under its own path, numbered where that is taken."""
        stem = shortened(path.stem)
        place = path.with_name(stem + path.suffix)
        while self._ledger.is_stored(place):
            stem = f"{stem}.{number}"
            place = path.with_name(stem + path.suffix)
        return place

    def _keep(self, part: Part) -> bool:
        """Enter a part into the ledger, trying until it takes it; False where this is to end before."""
        while True:
            try:
                self._ledger.add(part)
                self.states.well("ledger")
                return True
            except OSError as error:
                self.states.trouble("ledger", f"{error.filename}: {error.strerror}; judging waits for it")
            if self._stopping.wait(_PAUSE_SECONDS):
                return False

    def _is_drawn(self, verdict: Verdict) -> bool:
        return self._settings.maps == "all" or (self._settings.maps == "anomalous" and verdict.anomalous)

    def _redraw(self, part: Unfiled) -> Picture | None:
        try:
            image = read_source(self._settings.folder / part.path, self._judge.settings.image)
        except ImageError:
            return None
        verdict = self._verdict(image)
        return Picture(image, verdict) if isinstance(verdict, Verdict) else None

    def _write_status(self, every: float = 0.0) -> None:
        """Unless it was written within the last ``every`` seconds."""
        if time.monotonic() - self._written < every:
            return
        self._written = time.monotonic()
        place = self._settings.out / STATUS
        try:
            partial = place.with_name(f".{STATUS}.partial")
            partial.write_text(json.dumps(self.status(), indent=2) + "\n", encoding="utf-8")
            partial.replace(place)
        except OSError:
            pass  # a full disk is told of by the ledger
