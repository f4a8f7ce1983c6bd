"""A camera that gives one picture for each request over HTTP, as nearly every camera with an address does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalyvfm.line.secrets import read_password, trusting
from anomalyvfm.line.sources.camera import CameraDownError
from anomalyvfm.version import __version__

if TYPE_CHECKING:
    from anomalyvfm.line.settings import SnapshotSettings

_LARGEST = 256 << 20
"""Bytes, after which it is no picture but a stream without end."""


class Snapshot:
    """Over a connection that is kept open."""

    streams = False

    def __init__(self, settings: SnapshotSettings) -> None:
        import httpx

        self._settings = settings
        self._login: httpx.Auth | None = None
        address = httpx.URL(settings.url)
        username, password = settings.username, read_password(settings.password_file) or ""
        if username is None and address.username:
            username, password = address.username, address.password
        if username is not None:
            kinds = {"digest": httpx.DigestAuth, "basic": httpx.BasicAuth}
            self._login = kinds[settings.login](username, password)
        self._trust = True if settings.ca_file is None else trusting(settings.ca_file)
        self._client: httpx.Client | None = None

    def open(self) -> None:
        import httpx

        self._client = httpx.Client(
            timeout=self._settings.timeout,
            verify=self._trust,
            auth=self._login,
            headers={"user-agent": f"anomalyvfm/{__version__}"},
        )
        try:
            self.frame()
        except CameraDownError:
            self.close()
            raise

    def advance(self) -> None:
        """It does not stream."""

    def frame(self) -> bytes:
        import httpx

        assert self._client is not None
        where = self._settings.where
        content = bytearray()
        try:
            with self._client.stream("GET", self._settings.url) as answer:
                if answer.status_code != 200:
                    raise CameraDownError(f"{where}: answers {answer.status_code}, and 200 has a picture")
                for part in answer.iter_bytes():
                    content += part
                    if len(content) > _LARGEST:
                        raise CameraDownError(f"{where}: sends more than {_LARGEST >> 20} MiB, no picture")
        except httpx.HTTPError as error:
            raise CameraDownError(f"{where}: {str(error) or type(error).__name__}") from error
        return bytes(content)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
