"""The folder in which parts of a run lie until all are there, and go on from where they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from anomalyvfm.errors import InputError
from anomalyvfm.files import unwritable
from anomalyvfm.sealed import read_sealed, write_sealed
from anomalyvfm.version import __version__

RUN = "run.json"
"""What says in the folder of which run the parts are."""
REMEDY = "leave out --resume"
"""What helps where a part is not what it was."""
_SCHEMAS = range(1, 2)


@contextmanager
def working(place: Path, run: dict[str, Any], resume: bool) -> Iterator[None]:
    """The folder of a run's parts: new, or with ``resume`` as the same run left it.

    Where no part has come to its end, none is left behind. Raises InputError where it holds anything else.
    """
    try:
        there = place.is_dir() and any(place.iterdir())
        if there:
            _require_ours(place)
            if resume:
                _require_same(place, run)
            else:
                shutil.rmtree(place)
        for left in place.glob(".*") if place.is_dir() else ():  # by workers that were killed
            shutil.rmtree(left, ignore_errors=True)
        made = [folder for folder in (place, *place.parents) if not folder.exists()]
        place.mkdir(parents=True, exist_ok=True)
        partial = place / f".{RUN}"
        write_sealed(partial, {"schema_version": _SCHEMAS[-1], "anomalyvfm_version": __version__, **run})
        partial.replace(place / RUN)
    except OSError as error:
        raise unwritable(place, error) from None
    try:
        yield
    finally:
        with suppress(OSError):  # what is gone, or holds something
            if [entry.name for entry in place.iterdir()] == [RUN]:
                (place / RUN).unlink()
                for folder in made:
                    folder.rmdir()


def _require_ours(place: Path) -> None:
    if not (place / RUN).is_file():
        raise InputError(
            f"{place}: in the way, parts of the run would lie there; move it or choose another --out"
        )


def _require_same(place: Path, run: dict[str, Any]) -> None:
    left = read_sealed(place / RUN, _SCHEMAS, "a run in parts", REMEDY)
    same = {"schema_version": _SCHEMAS[-1], "anomalyvfm_version": __version__, **json.loads(json.dumps(run))}
    if {key: value for key, value in left.items() if key != "sha256"} != same:
        raise InputError(
            f"{place}: parts of a run of other images or other settings; leave out --resume to start anew"
        )


def write_whole(folder: Path, fill: Callable[[Path], None]) -> None:
    """Have a new folder filled under another name, then rename it.

    Where there is one already, as another worker has done the same, that stays. Raises InputError where the
    disk takes no more.
    """
    scratch = None
    try:
        scratch = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        fill(scratch)
        scratch.chmod(0o755)
        scratch.rename(folder)
    except OSError as error:
        if not folder.is_dir():
            raise unwritable(folder.parent, error) from None
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
