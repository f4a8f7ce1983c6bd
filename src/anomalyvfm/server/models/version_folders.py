"""Folders of versions: written behind where a version can be made again from its parent and one image."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import select

from anomalyvfm.errors import InputError
from anomalyvfm.server.problems import Problem
from anomalyvfm.server.store import audit, versions
from anomalyvfm.server.store.database import Database
from anomalyvfm.server.store.files import Files, sync_folder
from anomalyvfm.server.store.tables import InspectionRow, VersionRow
from anomalyvfm.server.store.trash import Trash

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector

_log = logging.getLogger(__name__)

Loader = Callable[[Path], "Detector"]
Pixels = Callable[[bytes, int], Any]
"""Image file and white level to (H, W, 3) pixels."""

# Each holds a model's sums in memory until they are on the disk.
_MOST_UNWRITTEN = 2
_WAIT_SECONDS = 10.0
_RETRY_SECONDS = 2.0


class VersionFolders:
    """``folder/<model>/<name>`` for each version; a name is drawn here, never taken from a client.

    A version that learned or forgot one image is safe once its row and that image are, for it is its parent
    and that image: its folder is written behind, so that nobody waits for a file as large as all sums. What
    a kill left unwritten is made again at the start, or at the next one where the disk refuses it. All other
    versions are written before their row.
    """

    def __init__(
        self, folder: Path, database: Database, files: Files, trash: Trash, load: Loader, pixels: Pixels
    ) -> None:
        self._folder = folder
        self._trash = trash
        self._database = database
        self._files = files
        self._load = load
        self._pixels = pixels
        self._pending: dict[int, str] = {}  # by the version's row, why the disk refused it
        self._room = threading.BoundedSemaphore(_MOST_UNWRITTEN)
        self._closing = threading.Event()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="versions")

    def open(self) -> None:
        """Put away what no row names, and make again what rows name and a kill left unwritten."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._database.reading() as session:
            rows = list(session.scalars(select(VersionRow).order_by(VersionRow.id)))
        kept = {(row.model, row.folder) for row in rows}
        for folder in self._folder.glob("*/*"):
            if folder.name.endswith(".partial"):
                shutil.rmtree(folder, ignore_errors=True)
            elif (folder.parent.name, folder.name) not in kept:
                self._trash.take(folder)
        for row in rows:
            if row.folder and not self._place(row).exists():
                self._make_again(row)

    def close(self) -> None:
        """Write what is under way, unless the disk refuses it: the next start makes that again."""
        self._closing.set()
        self._writer.shutdown()

    def settle(self) -> None:
        """Wait until all versions are written."""
        self._writer.submit(lambda: None).result()

    def load(self, version: VersionRow) -> Detector:
        """Raises InputError where the folder is no whole model, Problem 503 where it is not written yet."""
        if reason := self._pending.get(version.id):
            raise InputError(
                f"version {version.number} of {version.model} is still to be written to"
                f" {self._place(version)} ({reason}); mend that and start the station again"
            )
        try:
            self._writer.submit(lambda: None).result(_WAIT_SECONDS)
        except Late:
            raise Problem(503, "versions are still being written; try again", retry_after=5) from None
        detector = self._load(self._place(version))
        detector.prepare()
        return detector

    def write(self, model: str, detector: Detector) -> str:
        """A new folder with the detector in it, on the disk when this returns; its name."""
        name = uuid4().hex
        self._save(self._folder / model / name, detector)
        return name

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
    def writing_behind(self, model: str, detector: Detector, image: str) -> Iterator[str]:
        """The name of a folder that is written after the block, if that commits the row that names it.

        ``image`` is kept until then. Raises Problem 503 where earlier versions are not written in time.
        """
        if not self._room.acquire(timeout=_WAIT_SECONDS):
            detail = "earlier versions are still to be written; try again, and look at the disk if that lasts"
            raise Problem(503, detail, retry_after=10)
        holding = self._files.holding(image)
        try:
            holding.__enter__()
            name = uuid4().hex
            yield name
        except BaseException:
            holding.__exit__(None, None, None)
            self._room.release()
            raise

        def write() -> None:
            try:
                self._write_until_done(self._folder / model / name, detector)
            finally:
                holding.__exit__(None, None, None)
                self._room.release()

        self._writer.submit(write)

    def remove(self, model: str, name: str) -> None:
        shutil.rmtree(self._folder / model / name, ignore_errors=True)

    def is_written(self, version: VersionRow) -> bool:
        return self._place(version).exists()

    def _place(self, version: VersionRow) -> Path:
        return self._folder / version.model / version.folder

    def _save(self, place: Path, detector: Detector) -> None:
        try:
            detector.save(place)
            _sync(place)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise

    def _write_until_done(self, place: Path, detector: Detector) -> None:
        while not self._try_to_save(place, detector):
            if self._closing.wait(_RETRY_SECONDS):
                return

    def _try_to_save(self, place: Path, detector: Detector) -> bool:
        try:
            self._save(place, detector)
        except (OSError, InputError) as error:
            _log.error("a version waits to be written: %s", " ".join(str(error).split()))
            return False
        return True

    def _make_again(self, version: VersionRow) -> None:
        """Write a version as it was made; or where that can never be, go back to the one before."""
        try:
            with self._database.reading() as session:
                parent = versions.find_version(session, version.model, version.parent or 0)
                part = session.get(InspectionRow, version.inspection_id) if version.inspection_id else None
            if reason := self._pending.get(parent.id):
                self._pending[version.id] = reason
                return
            changed = self._load(self._place(parent))
            level = changed.settings.image.white_level
            if version.added:
                pixels = self._pixels(self._files.read(version.added), level)
                name = gallery_name(version.inspection_id, part.name if part else "")
                changed.update([pixels], names=[name])
            if version.removed:
                changed.forget([self._pixels(self._files.read(version.removed), level)])
            self._save(self._place(version), changed)
        except (Problem, InputError, OSError) as error:
            reason = " ".join(str(error).split())
            if _disk_refused(error):
                _log.error("version %d of %s waits to be written: %s", version.number, version.model, reason)
                self._pending[version.id] = reason
            else:
                _log.error("version %d of %s is lost: %s", version.number, version.model, reason)
                self._give_up(version, reason)

    def _give_up(self, version: VersionRow, reason: str) -> None:
        with self._database.writing() as session:
            versions.find_version(session, version.model, version.number).folder = ""
            model = versions.find_model(session, version.model)
            while not (active := versions.find_version(session, model.name, model.active)).folder:
                model.active = active.parent or 1  # the first was imported, and those are kept
            audit.note(session, "station", "lost", f"{version.model} {version.number}", reason)


def gallery_name(part: int | None, name: str) -> str:
    """What a model calls an image that it has learned from review."""
    return f"part {part}" + f", {name}" * bool(name)


def _disk_refused(error: Exception) -> bool:
    """Whether the disk could not be read or written now, where nothing is said to be missing or broken."""
    cause = error if isinstance(error, OSError) else error.__context__
    return isinstance(cause, OSError) and not isinstance(cause, (FileNotFoundError, NotADirectoryError))


def _sync(folder: Path) -> None:
    """Make a folder and what is in it survive a power cut."""
    for path in folder.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    sync_folder(folder)
    sync_folder(folder.parent)
