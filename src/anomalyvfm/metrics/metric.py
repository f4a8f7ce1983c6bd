"""What every metric returns: a value, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One number of a report.

    Attributes:
        value: the metric, or None where the data does not define it.
        reason: why `value` is None.
        bound: the largest possible distance between `value` and the exact metric of the same scores;
            0 where it was computed exactly.
        interval: bootstrap confidence interval (low, high), or None where there is none.
    """

    value: float | None
    reason: str | None = None
    bound: float = 0.0
    interval: tuple[float, float] | None = None


def undefined(reason: str) -> Metric:
    """The metric that the data does not define."""
    return Metric(None, reason)
