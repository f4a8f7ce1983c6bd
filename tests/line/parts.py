"""Parts of a ledger, as tests need them."""

from __future__ import annotations

import json
import time
from pathlib import Path

from anomalyvfm.line.ledger import FileState, Ledger, Part
from anomalyvfm.line.messages import Outcome


def part(
    ledger: Ledger, path: str = "a.png", outcome: Outcome = "good", arrived: float | None = None
) -> Part:
    """The next part of a ledger, which it does not hold yet."""
    number = ledger.next_number
    return Part(
        number=number,
        id=ledger.new_id(),
        path=Path(path),
        state=FileState(10, number),
        sha256=f"{number:064d}",
        stored=Path(f"{number}.png"),
        outcome=outcome,
        message=json.dumps({"number": number, "outcome": outcome, "path": path}),
        arrived=time.monotonic() if arrived is None else arrived,
    )


def fill(ledger: Ledger, count: int, outcome: Outcome = "good") -> None:
    for _ in range(count):
        ledger.add(part(ledger, outcome=outcome))
