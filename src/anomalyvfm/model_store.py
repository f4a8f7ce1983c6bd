"""Models in stores of objects or files elsewhere, by whatever address fsspec knows: s3://, gs://, sftp://, ….

The document that says what a model is goes last and comes first: who takes a model while another takes its
place finds none, or is told that it has changed. What is taken is checked against the document, and the files
are those that it names; a store is trusted with nothing else.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anomalyvfm.data.stores import opened
from anomalyvfm.errors import InputError, without_secrets
from anomalyvfm.files import new_folder
from anomalyvfm.model_folder import DESCRIPTION, TENSORS, read_description
from anomalyvfm.runtime.manifest import MANIFEST, is_exported, read_manifest
from anomalyvfm.sealed import check_digest
from anomalyvfm.tracking import Tracker, untracked

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_LARGEST_DOCUMENT = 64 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\Z")


@dataclass(frozen=True)
class Stored:
    """What went to a store or came from it."""

    url: str
    """Without what it may have of a secret."""
    files: tuple[str, ...]
    bytes: int
    sha256: str
    """Of the model's document, as `info` says it."""


def push(folder: Path, url: str, overwrite: bool = False, track: Tracker = untracked) -> Stored:
    """Put a fitted or exported model into a store, after it has been checked.

    Raises InputError where it is broken, where the store cannot be written, or where it has a model at
    ``url`` already that is not to be replaced.
    """
    document, files, sha256 = _checked(folder)
    with opened(url) as (store, place):
        there = [name for name in (DESCRIPTION, MANIFEST) if store.exists(f"{place}/{name}")]
        if there and not overwrite:
            raise InputError(
                f"{without_secrets(url)}: there is a model; choose another address, or --overwrite"
            )
        before = {name for old in there for name in _names_in(store, place, old, url)}
        for name in there:
            store.rm_file(f"{place}/{name}")
        _make_folders(store, place)
        for name in track([*files, document], len(files) + 1, "pushing"):
            store.put_file(str(folder / name), f"{place}/{name}")
        for name in before - {*files, document}:
            if store.exists(f"{place}/{name}"):
                store.rm_file(f"{place}/{name}")
    return _stored(folder, url, [*files, document], sha256)


def pull(url: str, folder: Path, overwrite: bool = False, track: Tracker = untracked) -> Stored:
    """Take a model from a store into a new folder, whole or not at all.

    Raises InputError where there is none, where what comes is not what its document says, or where
    ``folder`` cannot be new.
    """
    with new_folder(folder, overwrite) as partial:
        with opened(url) as (store, place):
            document = next(
                (name for name in (MANIFEST, DESCRIPTION) if store.exists(f"{place}/{name}")), None
            )
            if document is None:
                raise InputError(f"{without_secrets(url)}: no model there; `anomalyvfm push` puts one")
            content = _document(store, place, document, url)
            (partial / document).write_bytes(content)
            files = _files_of(document, content, url)
            for name in track(files, len(files), "pulling"):
                store.get_file(f"{place}/{name}", str(partial / name))
        try:
            _, _, sha256 = _checked(partial)
        except InputError as error:
            said = str(error).replace(f"{partial}/", "").replace(f"{partial}: ", "")
            raise InputError(f"{without_secrets(url)}: {said}") from None
    return _stored(folder, url, [*files, document], sha256)


def _checked(folder: Path) -> tuple[str, list[str], str]:
    """The name of a model's document, those of its other files, and its checksum. Raises InputError."""
    if is_exported(folder):
        manifest = read_manifest(folder)
        return MANIFEST, list(manifest["files"]), manifest["sha256"]
    description = read_description(folder)
    check_digest(folder / TENSORS, description["tensors_sha256"], "fit it anew")
    return DESCRIPTION, [TENSORS], description["sha256"]


def _names_in(store: AbstractFileSystem, place: str, document: str, url: str) -> list[str]:
    """The files of a model that is to be replaced; none where its document does not say."""
    try:
        return _files_of(document, _document(store, place, document, url), url)
    except InputError:
        return []


def _make_folders(store: AbstractFileSystem, place: str) -> None:
    """Those on the way to a place that are not there; but no bucket, which may be a slip of the pen."""
    if "://" in place:  # of the web alone a place is the whole address
        raise InputError(f"{place}: can only be read from; push to another store")
    folders = [place[: found.start()] for found in re.finditer("/", place)] + [place]
    if folders[0] and not store.exists(folders[0]):
        raise InputError(f"{folders[0]}: no such bucket; make it first")
    for folder in folders[1:]:
        if not store.isdir(folder):
            store.mkdir(folder, create_parents=False)


def _document(store: AbstractFileSystem, place: str, name: str, url: str) -> bytes:
    with store.open(f"{place}/{name}", "rb") as stream:
        content: bytes = stream.read(_LARGEST_DOCUMENT + 1)
    if len(content) > _LARGEST_DOCUMENT:
        raise InputError(f"{without_secrets(url)}: {name} is larger than any of ours")
    return content


def _files_of(document: str, content: bytes, url: str) -> list[str]:
    """The other files of a model, by a document that nobody has checked yet."""
    if document == DESCRIPTION:
        return [TENSORS]
    try:
        names = list(json.loads(content)["files"])
    except (ValueError, KeyError, TypeError):
        names = [None]
    if not all(isinstance(name, str) and _NAME.match(name) for name in names):
        where = without_secrets(url)
        raise InputError(f"{where}: {document} does not name files as ours do; push the model again")
    return names


def _stored(folder: Path, url: str, names: list[str], sha256: str) -> Stored:
    size = sum((folder / name).stat().st_size for name in names)
    return Stored(without_secrets(url), tuple(names), size, sha256)
