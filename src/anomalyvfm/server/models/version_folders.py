"""Versions on the disk: whole copies, and between them no more than what each changed in its parent."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import select

from anomalyvfm.errors import InputError
from anomalyvfm.model_folder import TENSORS, read_description
from anomalyvfm.sealed import check_digest
from anomalyvfm.server.models.changing import ImageChange
from anomalyvfm.server.models.lineage import MOST_STEPS, Lineage
from anomalyvfm.server.store import audit, versions
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.deletions import Deletions
from anomalyvfm.server.store.files import Files, sync_folder
from anomalyvfm.server.store.tables import InspectionRow, ModelRow, VersionRow
from anomalyvfm.server.store.trash import Trash

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector

_log = logging.getLogger(__name__)

Loader = Callable[[Path], "Detector"]
Pixels = Callable[[bytes, int], Any]
"""Image file and white level to (H, W, 3) pixels."""

# Reviews come in rows: the last of one is worth a copy, so that the next start is quick.
_QUIET_SECONDS = 5.0
_RETRY_SECONDS = 5.0

_CALIBRATION = ".calibration"


@dataclass(frozen=True)
class _Unwritten:
    """A version that judges and has no whole copy yet."""

    folder: str
    detector: Detector
    since: float


class VersionFolders:
    """``folder/<model>/<name>`` for each whole copy; a name is drawn here, never taken from a client.

    A version that learned or forgot an image, or a defect in it, is its parent and that image, both of which
    are kept as long as it is; one with another rate is its parent and its row; one calibrated anew is its
    parent and ``<name>.calibration``. Each is safe once its row is, and made again from these whenever it is
    asked for. Imported versions are whole. Of the others the one that judges is copied, once a while has
    passed or many have come since the last, so that a start is quick; earlier copies then go, but every 16th.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        files: Files,
        trash: Trash,
        deletions: Deletions,
        load: Loader,
        pixels: Pixels,
    ) -> None:
        self._folder = folder
        self._trash = trash
        self._deletions = deletions
        self._database = database
        self._files = files
        self._load = load
        self._pixels = pixels
        self._places = threading.RLock()  # nothing goes while something is made from it
        self._unwritten: dict[str, _Unwritten] = {}  # by model
        self._steps: Counter[str] = Counter()  # by model, versions since the last copy
        self._changed = threading.Condition()
        self._closing = self._hurrying = False
        self._problem = ""
        self._writer = threading.Thread(target=self._write_behind, name="versions")
        self._writer.start()

    def open(self) -> None:
        """Put away what no row names, and give up versions whose images are gone.

        Raises OSError where the disk cannot be read now: then nothing is given up.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._database.reading() as session:
            rows = list(session.scalars(select(VersionRow).order_by(VersionRow.id)))
        kept = {(row.model, row.folder) for row in rows}
        for left in self._folder.glob("*.partial"):
            shutil.rmtree(left, ignore_errors=True)
        for folder in self._folder.glob("*/*"):
            if folder.name.endswith(".partial"):
                shutil.rmtree(folder, ignore_errors=True)
            elif (folder.parent.name, folder.name.removesuffix(_CALIBRATION)) not in kept:
                self._trash.take(folder)
        kept_numbers: set[tuple[str, int | None]] = set()
        for row in rows:
            if not row.folder:
                continue
            if self._is_whole(row) or ((row.model, row.parent) in kept_numbers and self._can_be_made(row)):
                kept_numbers.add((row.model, row.number))
            else:
                self._give_up(row)

    def close(self) -> None:
        """Write what is under way, unless the disk refuses it: it can be made again."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join()

    def settle(self) -> None:
        """Wait until every version that judges has its whole copy."""
        with self._changed:
            self._hurrying = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._unwritten)
            self._hurrying = False

    def load(self, version: VersionRow) -> Detector:
        """A version, made again where it has no copy. Raises InputError where what it needs is broken."""
        with self._places:
            path = self._lineage(version.model).path(version.number)
            if not path:
                raise InputError(f"version {version.number} of {version.model} is no longer kept")
            try:
                detector = self._load(self._place(path[0]))
            except InputError as error:
                if not self._put_away_broken(path[0]):
                    raise
                _log.error("a copy of a version is broken, and is made again: %s", error)
                return self.load(version)
            for step in path[1:]:
                detector = self._made_from(detector, step)
        detector.prepare()
        return detector

    def copy_soon(self, model: str, name: str, detector: Detector) -> None:
        """Write a version that judges, where it has no copy, once nothing newer has come for a while."""
        with self._changed:
            self._unwritten[model] = _Unwritten(name, detector, time.monotonic())
            self._steps[model] += 1
            self._changed.notify_all()

    def copy(self, model: str, place: Path) -> str:
        """A new folder with a copy of a model folder, on the disk when this returns; its name."""
        folder = self._folder / model / uuid4().hex
        try:
            shutil.copytree(place, folder)
            _sync(folder)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder.name

    @contextmanager
    def whole(self, version: VersionRow) -> Iterator[Path]:
        """A folder with a version, whole, that stays as it is until the block ends.

        Raises InputError where what it is made from is broken.
        """
        with self._places:
            if self._is_whole(version):
                yield self._place(version)
                return
            detector = self.load(version)
        with tempfile.TemporaryDirectory(dir=self._folder, suffix=".partial") as scratch:
            detector.save(Path(scratch) / "model")
            yield Path(scratch) / "model"

    def discard(self, model: str) -> None:
        """Put all of a model that no row names any more into the trash."""
        with self._places, self._changed:
            self._unwritten.pop(model, None)
            if _is_there(self._folder / model):
                self._trash.take(self._folder / model)

    @contextmanager
    def receiving(self, model: str, contents: Mapping[str, IO[bytes]]) -> Iterator[tuple[Path, str]]:
        """A new folder with files of those names, and its name; removed again where the block fails."""
        name = uuid4().hex
        folder = self._folder / model / name
        try:
            folder.mkdir(parents=True)
            for file_name, content in contents.items():
                with (folder / file_name).open("xb") as stream:
                    shutil.copyfileobj(content, stream)
            _sync(folder)
            yield folder, name
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @contextmanager
    def changing(
        self, model: str, detector: Detector, image: str | None, recalibrated: bool
    ) -> Iterator[str]:
        """The name of a version whose row the block commits; what it changed is on the disk before that.

        ``image`` is the one it learned or forgot, which is kept until the row is there to name it.
        """
        name = uuid4().hex
        calibration = self._folder / model / (name + _CALIBRATION)
        with self._files.holding(image) if image else nullcontext():
            try:
                if recalibrated:
                    detector.save_calibration(calibration)
                    _sync(calibration)
                yield name
            except BaseException:
                shutil.rmtree(calibration, ignore_errors=True)
                raise
        self.copy_soon(model, name, detector)

    def prune(self, kept: int, most_bytes: float) -> int:
        """Let go of old versions; the last ``kept``, imported and active ones stay. How many went.

        Fewer are kept where they would take more than ``most_bytes``. What a version that stays is made
        from stays with it.
        """
        gone: list[tuple[str, str]] = []
        with self._places:
            with self._database.writing() as session:
                for model in session.scalars(select(ModelRow)):
                    rows = versions.of_model(session, model.name)
                    stay = self._to_keep(rows, model.active, kept, most_bytes)
                    for row in rows:
                        if row.folder and row.number not in stay:
                            gone.append((model.name, row.folder))
                            row.folder = ""
            for name, folder in gone:
                for place in (folder, folder + _CALIBRATION):
                    shutil.rmtree(self._folder / name / place, ignore_errors=True)
        return len(gone)

    def bytes(self) -> int:
        """What all versions take, and the images that they are made from."""
        with self._database.reading() as session:
            rows = list(session.scalars(select(VersionRow).where(VersionRow.folder != "")))
        return sum(map(self._bytes, rows))

    def fault(self) -> str:
        """Why copies cannot be written now; nothing where they can."""
        if self._problem:
            return self._problem
        copies = self._folder.glob("*/*")
        largest = max((sum(map(_size, folder.glob("*"))) for folder in copies), default=0)
        free = shutil.disk_usage(self._folder).free
        if free < largest:
            return f"{free / 1e6:.0f} MB are free, and the next copy of a version takes {largest / 1e6:.0f}"
        return ""

    def _to_keep(self, rows: Sequence[VersionRow], active: int, kept: int, most_bytes: float) -> set[int]:
        lineage = self._lineage_of(rows)
        while True:
            wanted = {row.number for row in rows[:kept] if row.folder}
            wanted |= {row.number for row in rows if row.number == active or row.action == "import"}
            stay = lineage.needed(wanted)
            if kept <= 1 or sum(self._bytes(row) for row in rows if row.number in stay) <= most_bytes:
                return stay
            kept //= 2

    def _lineage(self, model: str) -> Lineage:
        with self._database.reading() as session:
            return self._lineage_of(versions.of_model(session, model))

    def _lineage_of(self, rows: Sequence[VersionRow]) -> Lineage:
        return Lineage(rows, self._is_whole)

    def _place(self, version: VersionRow) -> Path:
        return self._folder / version.model / version.folder

    def _calibration(self, version: VersionRow) -> Path:
        return self._folder / version.model / (version.folder + _CALIBRATION)

    def _bytes(self, version: VersionRow) -> int:
        images = (self._files.path(image) for image in (version.added, version.removed) if image)
        paths = [*self._place(version).glob("*"), *self._calibration(version).glob("*"), *images]
        return sum(map(_size, paths))

    def _is_whole(self, version: VersionRow) -> bool:
        return _is_there(self._place(version))

    def _can_be_made(self, version: VersionRow) -> bool:
        """Whether what the version changed in its parent is there."""
        if version.action == "calibrate":
            return _is_there(self._calibration(version))
        images = [image for image in (version.added, version.removed) if image]
        if not images:
            return version.action == "rate"
        return all(_is_there(self._files.path(image)) for image in images)

    def _made_from(self, parent: Detector, version: VersionRow) -> Detector:
        """The version, from its parent, which becomes it where it is loaded for this alone."""
        if version.action == "calibrate":
            return parent.with_saved_calibration(self._calibration(version))
        if version.action == "rate":
            return parent.with_false_alarm_rate(version.calibration["false_alarm_rate"])
        image = version.added or version.removed
        if image:
            with self._database.reading() as session:
                part = session.get(InspectionRow, version.inspection_id) if version.inspection_id else None
            name = gallery_name(version.inspection_id, part.name if part else "")
            change = ImageChange(version.action, bool(version.added), bool(version.removed), version.outline)
            change.apply(parent, self._image(version, image, parent), name)
        return parent

    def _put_away_broken(self, version: VersionRow) -> bool:
        """Whether a copy was not what was written, as after a power cut, and can be made again."""
        place = self._place(version)
        if _is_intact(place) or not self._can_be_made(version):
            return False
        if not self._lineage(version.model).path(version.parent or 0):
            return False
        self._trash.take(place)
        return True

    def _image(self, version: VersionRow, digest: str, detector: Detector) -> Any:
        content = self._files.read(digest)
        if hashlib.sha256(content).hexdigest() != digest:
            raise InputError(
                f"{self._files.path(digest)}: changed since version {version.number} of {version.model} was"
                " made with it; put it back from a backup"
            )
        return self._pixels(content, detector.settings.image.white_level)

    def _write_behind(self) -> None:
        while (found := self._next()) is not None:
            model, unwritten = found
            done = self._try_to_copy(model, unwritten)
            with self._changed:
                if done:
                    self._steps[model] = 0
                if self._unwritten.get(model) is unwritten and (done or self._closing):
                    del self._unwritten[model]
                self._changed.notify_all()
                if not done and not self._closing:
                    self._changed.wait_for(lambda: self._closing, _RETRY_SECONDS)

    def _next(self) -> tuple[str, _Unwritten] | None:
        """The next version to copy, once it is time; None where all is done and the station closes."""
        with self._changed:
            while True:
                quiet = time.monotonic() - _QUIET_SECONDS
                wait = None
                for model, one in self._unwritten.items():
                    many = self._steps[model] >= MOST_STEPS
                    if self._closing or self._hurrying or many or one.since <= quiet:
                        return model, one
                    wait = min(one.since - quiet, wait or _QUIET_SECONDS)
                if self._closing:
                    return None
                self._changed.wait(wait)

    def _try_to_copy(self, model: str, unwritten: _Unwritten) -> bool:
        try:
            self._save(self._folder / model / unwritten.folder, unwritten.detector)
            self._thin_out(model)
        except Exception as error:  # the version is safe without: the next round tries again
            self._problem = f"a version of {model} waits for its copy: {' '.join(str(error).split())}"
            _log.error(self._problem)
            return False
        self._problem = ""
        return True

    def _save(self, place: Path, detector: Detector) -> None:
        if _is_there(place):
            return
        try:
            detector.save(place)
            _sync(place)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise

    def _thin_out(self, model: str) -> None:
        """Remove copies of versions that are a few images from another copy."""
        with self._deletions.allowed() as allowed, self._places:
            if not allowed:
                return
            with self._database.reading() as session:
                rows = versions.of_model(session, model)
                active = versions.find_model(session, model).active
            imported = {row.number for row in rows if row.action == "import"}
            for row in self._lineage_of(rows).superfluous(self._can_be_made, {active, *imported}):
                shutil.rmtree(self._place(row), ignore_errors=True)

    def _give_up(self, version: VersionRow) -> None:
        """Go back to the version before one that can never be made again."""
        reason = "its copy is gone, and so is what it could be made from"
        _log.error("version %d of %s is lost: %s", version.number, version.model, reason)
        with self._database.writing() as session:
            versions.find_version(session, version.model, version.number).folder = ""
            model = versions.find_model(session, version.model)
            while not (active := versions.find_version(session, model.name, model.active)).folder:
                model.active = active.parent or 1  # the first was imported, and those are kept
            audit.note(session, "station", "lost", f"{version.model} {version.number}", reason)


def gallery_name(part: int | None, name: str) -> str:
    """What a model calls an image that it has learned from review."""
    return f"part {part}" + f", {name}" * bool(name)


def _is_intact(place: Path) -> bool:
    try:
        description = read_description(place)
        if "tensors_sha256" in description:
            check_digest(place / TENSORS, description["tensors_sha256"], "")
    except InputError:
        return False
    return True


def _is_there(path: Path) -> bool:
    """Raises OSError where that cannot be told: what cannot be read now is not gone."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):  # removed meanwhile
        return path.stat().st_size
    return 0


def _sync(folder: Path) -> None:
    """Make a folder and what is in it survive a power cut."""
    for path in folder.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    sync_folder(folder)
    sync_folder(folder.parent)
