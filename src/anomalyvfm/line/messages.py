"""What is told of a part to whoever listens: the verdict, who the part is, and which model judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

Outcome = Literal["good", "anomalous", "refused"]
"""Refused: no verdict was possible, the image is damaged, blank or not what was agreed upon."""

OUTCOMES: tuple[Outcome, ...] = ("good", "anomalous", "refused")


@dataclass(frozen=True)
class Message:
    """A part's news, as it lies in the ledger."""

    number: int
    """Counts the parts of a ledger from 1, without gaps; or a station's inspections, and refusals below 0."""
    id: str
    """The same however often it is sent."""
    outcome: Outcome
    body: str
    """JSON, one line: what `describe` says."""
    arrived: float | None
    """When the image was there, by the monotonic clock; None for one of an earlier process, long ago."""

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.body)
        return content


def describe(
    *,
    number: int,
    part_id: str,
    at: float,
    path: str,
    sha256: str | None,
    fields: Mapping[str, str],
    model: Mapping[str, Any],
    verdict: Mapping[str, Any],
) -> dict[str, Any]:
    """A message's content: ``verdict`` is that of `Verdict.as_dict`, or an ``error`` alone.

    ``at`` is in seconds since 1970, ``path`` that below the watched folder.
    """
    moment = datetime.fromtimestamp(at, timezone.utc)
    outcome: Outcome = "refused" if "error" in verdict else "anomalous" if verdict["anomalous"] else "good"
    return {
        "id": part_id,
        "number": number,
        "at": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "path": path,
        "sha256": sha256,
        "fields": dict(fields),
        "model": dict(model),
        "outcome": outcome,
        **verdict,
    }
