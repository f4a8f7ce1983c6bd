"""Numbers as an operator reads them: plain words, no statistics to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anomalyvfm.server.pages.language import N_, _, number, percentage

NEAR = 0.5
"""Standard deviations of good parts' scores: a part that passed closer to its limit deserves a look."""

_WORDS = {
    # verdicts
    "rejected": N_("Rejected"),
    "near": N_("Passed, near"),
    "passed": N_("Passed"),
    # reviews
    "good": N_("Good"),
    "defect": N_("Defect"),
    "unsure": N_("Unsure"),
    # why there is none
    "decode": N_("Damaged file"),
    "size": N_("Another size"),
    "contrast": N_("Nothing to be seen"),
    "torn": N_("Torn picture"),
    "focus": N_("Out of focus"),
    "not judged": N_("The station could not judge it"),
    "not seen": N_("Not seen by the camera"),
    # what happened
    "drift": N_("Drift alarm"),
    "drift settled": N_("Drift alarm settled"),
    # who a part is
    "line": N_("Line"),
    "product": N_("Product"),
    "lot": N_("Lot"),
    "serial": N_("Serial number"),
    "shift": N_("Shift"),
    # roles, and who stood at the line
    "operator": N_("operator"),
    "engineer": N_("engineer"),
    "admin": N_("admin"),
    # what made a version
    "import": N_("Imported"),
    "learn": N_("Learned"),
    "forget": N_("Forgot"),
    "confirm": N_("Defect learned"),
    "take_back": N_("Defect forgotten"),
    "calibrate": N_("Calibrated"),
    "rate": N_("False alarms changed"),
    # what layers of a backbone respond to
    "edges": N_("edges"),
    "fine texture": N_("fine texture"),
    "texture": N_("texture"),
    "patterns": N_("patterns"),
    "parts": N_("parts"),
    "shapes": N_("shapes"),
    "the whole object": N_("the whole object"),
}

_PROBLEMS = {
    400: N_("Malformed request"),
    401: N_("Not signed in"),
    403: N_("Not allowed"),
    404: N_("Not found"),
    405: N_("Method not allowed"),
    409: N_("Changed meanwhile"),
    413: N_("Too large"),
    415: N_("Type not supported"),
    422: N_("Cannot be used"),
    429: N_("Too much at once"),
    500: N_("Internal error"),
    503: N_("Not available now"),
    504: N_("Took too long"),
    507: N_("No space left"),
}


def word(name: str) -> str:
    """What a verdict, a review, a role, a change or a layer is called; what is not known, as it is."""
    return _(_WORDS[name]) if name in _WORDS else name


def problems() -> dict[int, str]:
    """What an answer's status means; its detail, which says more, is English."""
    return {status: _(text) for status, text in _PROBLEMS.items()}


def by(bucket: str) -> str:
    """What a bar of a chart stands for: an hour or a day."""
    return _("by hour") if bucket == "hour" else _("by day")


def state(part: Mapping[str, Any]) -> str:
    """How a part is coloured: rejected, passed, or near its limit."""
    if part["anomalous"]:
        return "rejected"
    return "near" if part["id"] and part["threshold"] - part["score"] < NEAR else "passed"


def odds(p_value: float) -> str:
    """What a conformal p-value says: the same words whatever the model has learned since."""
    if p_value >= 0.5:
        return _("Most good parts look at least this odd.")
    return _("At most about %(times)s good parts looks this odd.") % {"times": one_in(p_value)}


def contributions(layers: Mapping[str, float], sees: Mapping[str, str]) -> str:
    """What is odd of a region: what its layers respond to, by their shares; layers of one word together."""
    shares: dict[str, float] = {}
    for layer, share in layers.items():
        shares[sees[layer]] = shares.get(sees[layer], 0) + share
    # As percent() would, but whole: shares are known no better.
    oddest = sorted(shares.items(), key=lambda one: -one[1])[:3]
    return _(", ").join(f"{word(seen)} {percentage(share)}" for seen, share in oddest)


_DRIFTS = {
    "risen": (
        N_("Parts look odder than when the model learned."),
        N_("Check light, lens and position."),
    ),
    "fallen": (
        N_("Parts look plainer than when the model learned."),
        N_("Check focus, light and that parts are in view."),
    ),
    "mostly anomalous": (
        N_("Most parts are rejected."),
        N_("Check the camera, and that the model fits the product."),
    ),
}


def drift_words(drift: Mapping[str, Any] | None) -> dict[str, str]:
    """What a drift test found, and what to do; None: there is no test."""
    if drift is None:
        headline = N_("No drift test yet.")
        advice = N_("It begins with the first parts, if the model has enough good ones.")
    elif drift["alarm"]:
        headline, advice = _DRIFTS.get(drift.get("kind") or "", _DRIFTS["risen"])
    else:
        headline, advice = N_("No drift."), N_("Parts look as they did when the model learned.")
    return {"headline": _(headline), "advice": _(advice)}


def one_in(share: float) -> str:
    """A share as ``1 in 200``: easier to picture than 0.5 %."""
    if share <= 0:
        return _("none of the")
    times = 1 / share
    whole = times >= 9.5 or abs(times - round(times)) < 0.05
    return _("1 in %(times)s") % {"times": number(times, 0 if whole else 1)}


def percent(share: float | None) -> str:
    """A share with as many digits as it can carry: 12 %, 1.4 %, 0.07 %."""
    if share is None:
        return "–"
    points = 100 * share
    return percentage(share, 0 if points >= 10 or points == 0 else 1 if points >= 0.995 else 2)


def score(value: float | None) -> str:
    """A score, or a dash where there is none."""
    return "–" if value is None else number(value, 2, grouped=False)
