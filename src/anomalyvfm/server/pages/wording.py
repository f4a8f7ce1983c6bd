"""Numbers as an operator reads them: plain words, no statistics to know."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

NEAR = 0.5
"""Standard deviations of good parts' scores: a part that passed closer to its limit deserves a look."""


def state(part: Mapping[str, Any]) -> str:
    """How a part is coloured: rejected, passed, or near its limit."""
    if part["anomalous"]:
        return "rejected"
    return "near" if part["id"] and part["threshold"] - part["score"] < NEAR else "passed"


def odds(p_value: float) -> str:
    """What a conformal p-value says: the same words whatever the model has learned since."""
    if p_value >= 0.5:
        return "Most good parts look at least this odd."
    return f"At most about {one_in(p_value)} good parts looks this odd."


def contributions(layers: Mapping[str, float], sees: Mapping[str, str]) -> str:
    """What is odd of a region: what its layers respond to, by their shares; layers of one word together."""
    shares: dict[str, float] = {}
    for layer, share in layers.items():
        shares[sees[layer]] = shares.get(sees[layer], 0) + share
    # As percent() would, but whole: shares are known no better.
    parts = [f"{word} {100 * share:.0f} %" for word, share in sorted(shares.items(), key=lambda one: -one[1])]
    return ", ".join(parts[:3])


_DRIFTS = {
    "risen": ("Parts look odder than when the model learned.", "Check light, lens and position."),
    "fallen": (
        "Parts look plainer than when the model learned.",
        "Check focus, light and that parts are in view.",
    ),
    "mostly anomalous": (
        "Most parts are rejected.",
        "Check the camera, and that the model fits the product.",
    ),
}


def drift_words(drift: Mapping[str, Any] | None) -> dict[str, str]:
    """What a drift test found, and what to do; None: there is no test."""
    if drift is None:
        headline, advice = (
            "No drift test yet.",
            "It begins with the first parts, if the model has enough good ones.",
        )
    elif drift["alarm"]:
        headline, advice = _DRIFTS.get(drift.get("kind") or "", _DRIFTS["risen"])
    else:
        headline, advice = "No drift.", "Parts look as they did when the model learned."
    return {"headline": headline, "advice": advice}


def one_in(share: float) -> str:
    """A share as ``1 in 200``: easier to picture than 0.5 %."""
    if share <= 0:
        return "none of the"
    times = 1 / share
    return f"1 in {times:,.0f}" if times >= 9.5 or abs(times - round(times)) < 0.05 else f"1 in {times:.1f}"


def percent(share: float | None) -> str:
    """A share with as many digits as it can carry: 12 %, 1.4 %, 0.07 %."""
    if share is None:
        return "–"
    points = 100 * share
    digits = 0 if points >= 10 or points == 0 else 1 if points >= 0.995 else 2
    return f"{points:.{digits}f} %"


def score(value: float | None) -> str:
    """A score with a real minus sign, which a hyphen is not; a dash where there is none."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def count(number: int, one: str, many: str | None = None) -> str:
    """``1 part``, ``2,000 parts``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def moment(iso: str) -> str:
    """A time of an ISO 8601 text as ``23 Nov 2026, 14:05:09 UTC``; the page's script makes it local."""
    at = datetime.fromisoformat(iso.replace("Z", "+00:00"))
    at = at.replace(tzinfo=timezone.utc) if at.tzinfo is None else at.astimezone(timezone.utc)
    return f"{at.day} {at:%b %Y, %H:%M:%S} UTC"
