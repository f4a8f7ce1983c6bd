"""Small pictures of images, kept beside them; lost ones are made again."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from anomalyvfm.server.decoding.pool import Decoders
from anomalyvfm.server.store.files import Files

_HASH = re.compile(r"[0-9a-f]{64}\Z")


class Thumbnails:
    def __init__(self, folder: Path, files: Files, decoders: Decoders) -> None:
        self._folder = folder
        self._files = files
        self._decoders = decoders

    def put(self, digest: str, picture: bytes) -> None:
        """Keep one. A disk that takes none is no harm: it is made when asked for."""
        path = self._path(digest)
        partial = path.with_name(f"{digest}.{uuid4().hex}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(picture)
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def get(self, digest: str, white_level: int) -> bytes:
        with suppress(OSError):
            if picture := self._path(digest).read_bytes():
                return picture
        picture = self._decoders.thumbnail(self._files.read(digest), white_level)
        self.put(digest, picture)
        return picture

    def remove(self, digest: str) -> None:
        with suppress(OSError):
            self._path(digest).unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        if not _HASH.match(digest):
            raise ValueError("not a SHA-256")
        return self._folder / digest[:2] / digest
