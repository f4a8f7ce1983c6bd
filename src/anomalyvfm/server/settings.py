"""Every setting of a station, with its unit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anomalyvfm.line.settings import LineSettings

# Of address space for a pixel: a deep image and what it becomes on the way to 8 bits, beside libraries.
_DECODING_BYTES = 48


@dataclass(frozen=True)
class Limits:
    """What a request may ask for; beyond it the answer is a problem, never an attempt."""

    image_bytes: int = 32 << 20
    request_bytes: int = 256 << 20
    receiving_bytes: int = 512 << 20
    """Of images that are still being sent, together; what would exceed it is answered 429."""
    images_a_request: int = 512
    pixels: int = 64_000_000
    """Width × height, known from the header before anything is decoded."""
    waiting: int = 64
    """Images accepted and not yet judged; the next one is answered 429."""
    waiting_in_jobs: int = 10_000
    """Images of jobs not yet judged; a job that would exceed it is answered 429."""
    free_share: float = 0.05
    """Share of the disk that jobs leave free for what is judged from them, answered 507 beyond."""
    seconds: float = 30.0
    """From a request's arrival to its answer."""
    decode_seconds: float = 10.0
    decode_bytes: int = 3 << 30
    """Address space of a decoding worker."""

    def for_images(self, pixels: int, file_bytes: int) -> Limits:
        """These with other limits of an image, and room for one of that size where there was too little."""
        return replace(
            self,
            pixels=pixels,
            image_bytes=file_bytes,
            request_bytes=max(self.request_bytes, file_bytes),
            decode_bytes=max(self.decode_bytes, _DECODING_BYTES * pixels),
        )


@dataclass(frozen=True)
class Retention:
    """What is kept. Reviewed inspections and those a model learned from are kept twice as long."""

    days: float | None = None
    bytes: int | None = None
    """Of images, maps and versions; the oldest go first."""
    log_days: float | None = None
    """Of the audit log; none: for ever."""


@dataclass(frozen=True)
class Settings:
    """A station's place, limits and habits."""

    data: Path
    """Folder of everything the station keeps; one station at a time works in it."""
    database: str | None = None
    """URL for SQLAlchemy; none: SQLite in ``data``."""
    token_file: Path | None = None
    """None: no tokens are asked for, which only a loopback address may have."""
    proxies: tuple[str, ...] = ()
    """Networks of proxies in front, which are believed where a request came from, and by which scheme."""
    limits: Limits = field(default_factory=Limits)
    retention: Retention = field(default_factory=Retention)
    decoders: int = 2
    """Decoding processes."""
    gather_seconds: float = 0.004
    """How long a batch waits for company once the first image is there."""
    sampled_share: float = 0.1
    """Share of all inspections, chosen by their content alone, that review sees whatever the verdict."""
    versions_kept: int = 100
    """Versions of a model that can be gone back to, beside those that were imported."""
    trash_days: int = 7
    """How long files that no row names are kept before they are deleted."""
    images_between_drift_alarms: float = 100_000
    """While nothing has changed, so many images pass on average before drift is wrongly reported."""
    session_hours: float = 12.0
    line: LineSettings | None = None
    """Fields of parts, and sinks that are told of inspections."""
    timezone: str | None = None
    """In which the site's days and hours are (IANA); none: the machine's."""

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data / 'station.sqlite3'}"
