"""Figures with their spread, and the table of what was promised and what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The middle of several measurements, and the lowest and the highest of them."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(min(values), statistics.median(values), max(values))

    def __str__(self) -> str:
        if self.low == self.high:
            return _short(self.median)
        return f"{_short(self.median)} ({_short(self.low)} to {_short(self.high)})"


@dataclass(frozen=True)
class Row:
    """A figure beside its target, None where there is none.

    ``least`` says that the figure must not be below the target; it must not be above it otherwise. The
    median is judged.
    """

    what: str
    figure: Spread
    unit: str = ""
    target: float | None = None
    least: bool = True
    note: str = ""
    bound: bool = False
    """The true figure is this or more: below its target it says nothing."""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        median = self.figure.median
        if self.bound and median < self.target:
            return None
        return median >= self.target if self.least else median <= self.target


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Quotients round by round: what drifts from one round to the next leaves them alone.

    Raises:
        ValueError: the two were not measured in the same number of rounds.
    """
    return Spread.of([a / b for a, b in zip(numerators, denominators, strict=True)])


def marginal_rates(small: int, small_s: Sequence[float], large: int, large_s: Sequence[float]) -> list[float]:
    """Images a second once everything is loaded, by round: more images over the seconds more they took.

    A rate below zero says that noise outweighed the difference: take lists further apart in length.
    """
    pairs = zip(small_s, large_s, strict=True)
    return [(large - small) / (longer - shorter) for shorter, longer in pairs]


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = ["| what | median (lowest to highest) | target | met |", "|---|---|---|---|"]
    for row in rows:
        sign = "≥" if row.least else "≤"
        target = "" if row.target is None else f"{sign} {_short(row.target)} {row.unit}".strip()
        unknown = "not known" if row.bound else ""
        met = {None: unknown, True: "yes", False: "**no**"}[row.met]
        what = f"{row.what}; {row.note}" if row.note else row.what
        lines.append(
            f"| {what} | {'≥ ' * row.bound}{row.figure} {row.unit}".rstrip() + f" | {target} | {met} |"
        )
    return "\n".join(lines)


def _short(value: float) -> str:
    """Three digits that count, no exponent."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3f}"
