"""Result folders: new ones whole or not at all, old ones replaced where they are ours, one run at a time.

Every folder that a command writes holds the marker ``.anomalyvfm.json``, which lists the files written.
``--overwrite`` replaces a folder in which nothing else lies, and refuses any other, so that no mistyped
``--out`` costs a user's own files.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from anomalyvfm.errors import InputError

MARKER = ".anomalyvfm.json"

# In bytes: file systems take 255, and a number and the ending of a partial file need some.
_LONGEST_STEM = 200
_NAMED = 3  # of the files in the way; the others are counted


@contextmanager
def reserved(folder: Path, overwrite: bool = False) -> Iterator[None]:
    """Keep a new result folder for this run alone.

    Raises InputError, before any work is done, where ``folder`` holds anything (with ``overwrite``: anything
    that is not ours), cannot be written, or another run is writing there.
    """
    check_new(folder, overwrite)
    with locked(folder):
        yield


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other run out of a result folder. Raises InputError where one is in it."""
    from filelock import FileLock, Timeout

    folder = folder.resolve()
    place = _workplace(folder)
    path = place / f".{folder.name}.lock"
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder}: another run is writing there; wait for it or choose another --out"
        ) from None
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        for left in place.glob(f".{_literal(folder.name)}.*.partial"):  # by runs that were killed
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held: whoever opened it before is refused by it
        lock.release()


@contextmanager
def new_folder(folder: Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill, renamed to ``folder`` when all is written and removed when anything goes wrong.

    Raises InputError where ``folder`` is not empty
    (with ``overwrite``: holds what is not ours) or cannot be made.
    """
    check_new(folder, overwrite)
    shown, folder = folder, folder.resolve()
    scratch: Path | None = None
    try:
        place = _workplace(folder)
        place.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=place))
        new = scratch / "new"
        new.mkdir()
        yield new
        mark(new)
        _put(new, folder, scratch / "old", overwrite)
    except OSError as error:
        raise unwritable(shown, error) from None
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def check_new(folder: Path, overwrite: bool = False) -> None:
    """Raise InputError, before any work is done, where a result folder could not be written."""
    try:
        resolved = folder.resolve()
        parent = next(p for p in (resolved, *resolved.parents) if p.exists())
    except (OSError, RuntimeError) as error:  # the latter for links in a circle
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder}: cannot be written ({reason}); choose another --out") from None
    if resolved.exists() and not resolved.is_dir():
        raise InputError(f"{folder}: is a file; choose another --out")
    if not parent.is_dir():
        raise InputError(f"{folder}: cannot be written ({parent} is a file); choose another --out")
    if resolved.is_dir() and not overwrite and any(resolved.iterdir()):
        raise InputError(f"{folder}: exists already; choose another --out or add --overwrite")
    if resolved.is_dir() and (foreign := _foreign(resolved)):
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        raise InputError(
            f"{folder}: holds what no command of anomalyvfm wrote ({', '.join(foreign[:_NAMED])}{more}), and"
            " --overwrite replaces nothing else; move it away or choose another --out"
        )
    try:
        # Permission is not enough: read-only mounts and /proc grant it to root, and refuse to write.
        Path(tempfile.mkdtemp(prefix=".probe-", dir=parent)).rmdir()
    except OSError as error:
        raise unwritable(folder, error) from None


def mark(folder: Path, growing: Sequence[str] = (), run: Mapping[str, Any] | None = None) -> None:
    """Say in a folder which files are ours: those there now, and all that come below the names ``growing``.

    Files that an earlier marker does not name stay the user's. ``run`` is what tells the run that writes here
    from any other, for `marked_run`.
    """
    foreign = set(_foreign(folder)) if (folder / MARKER).is_file() else set()
    files = sorted(name for name in _contents(folder) if name not in foreign)
    partial = folder / f"{MARKER}.partial"
    body = {"written_by": "anomalyvfm", "run": run, "growing": list(growing), "files": files}
    partial.write_text(json.dumps(body) + "\n", encoding="utf-8")
    partial.replace(folder / MARKER)


def marked_run(folder: Path) -> Any:
    """What `mark` was told of the run; None where a folder has no marker."""
    return _marker(folder).get("run")


def empty(folder: Path) -> None:
    """Remove what is ours from a folder whose results are written in place, and the marker last."""
    foreign = set(_foreign(folder))
    for name in [name for name in _contents(folder) if name not in foreign]:
        path = folder / name
        path.rmdir() if name.endswith("/") else path.unlink()
        for above in path.parents:
            if above == folder or any(above.iterdir()):
                break
            above.rmdir()
    (folder / MARKER).unlink(missing_ok=True)


def share(path: Path) -> None:
    """Give a file the permissions that the umask says; safetensors keeps what it writes to its owner."""
    probe = path.with_name(f".{path.name}.mode")
    probe.touch()
    path.chmod(probe.stat().st_mode & 0o777)
    probe.unlink()


def unwritable(folder: Path, error: OSError) -> InputError:
    """The one line for a place that took no files, or no more of them."""
    return InputError(
        f"{folder}: cannot be written ({error.strerror}); choose another --out or free the disk"
    )


def check_apart(out: Path, *inputs: Path) -> None:
    """Raise InputError where replacing ``out`` would remove what the results are made from."""
    for place in (path.resolve() for path in inputs):
        if out.resolve() in (place, *place.parents):
            raise InputError(f"{out}: {place} is in it; choose another --out")


def _foreign(folder: Path) -> list[str]:
    """What lies in a folder and is not ours, as paths below it."""
    marker = _marker(folder)
    growing, files = set(marker.get("growing", ())), set(marker.get("files", ()))
    return sorted(
        name for name in _contents(folder) if name not in files and name.split("/", 1)[0] not in growing
    )


def _marker(folder: Path) -> dict[str, Any]:
    try:
        body = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _contents(folder: Path) -> Iterator[str]:
    """Paths below a folder of all files but the marker and, with a slash, of all folders that are empty."""
    for place, folders, files in os.walk(folder):
        below = Path(place).relative_to(folder)
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        if not folders and not files and place != str(folder):
            yield f"{below.as_posix()}/"
        for name in (*files, *links):
            path = (below / name).as_posix()
            if not _ours_at_work(path.split("/", 1)[0], folder):
                yield path
        folders[:] = [name for name in folders if not _ours_at_work(name, folder)]


def _ours_at_work(name: str, folder: Path) -> bool:
    """Whether a name directly in a folder is that of its marker, or of a run's lock or scratch folder."""
    own = f".{folder.name}."
    return name in (MARKER, f"{MARKER}.partial") or (
        name.startswith(own) and name.endswith((".lock", ".partial"))
    )


def _workplace(folder: Path) -> Path:
    """Where what is not yet whole lies: beside the folder, or in it where it cannot be renamed.

    That is a mount point, as a container's volume, or a folder in one that takes no new files.
    """
    inside = folder.is_dir() and (os.path.ismount(folder) or not os.access(folder.parent, os.W_OK))
    return folder if inside else folder.parent


def _put(new: Path, folder: Path, old: Path, overwrite: bool) -> None:
    """Let what is in ``new`` take the place of what is in ``folder``, which goes to ``old``."""
    if not folder.exists():
        new.replace(folder)
        return
    foreign = _foreign(folder)
    if foreign or (not overwrite and any(_contents(folder))):
        if not overwrite:
            raise InputError(f"{folder}: was filled by others meanwhile; choose another --out")
        for name in foreign:  # somebody put it there while we worked: it stays
            kept = new / name
            if not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                (folder / name).rename(kept)
    working = Path.cwd()
    if old.parent.parent != folder and folder not in (working, *working.parents):
        folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            old.rename(folder)
            raise
        return
    # A mount point, or the folder somebody's shell is in, stays the folder it is.
    old.mkdir()
    for entry in list(folder.iterdir()):
        if entry.name == MARKER or not _ours_at_work(entry.name, folder):
            entry.rename(old / entry.name)
    for entry in list(new.iterdir()):
        entry.rename(folder / entry.name)


def _literal(name: str) -> str:
    """A name as a pattern that matches nothing else."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def shortened(stem: str) -> str:
    """A file's stem, or its beginning where no number and ending would fit beside it."""
    name = os.fsencode(stem)
    return stem if len(name) <= _LONGEST_STEM else name[:_LONGEST_STEM].decode(errors="ignore")
