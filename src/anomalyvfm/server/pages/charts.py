"""Charts as SVG drawn on the server: they need no script, print well, and take their colours from the page.

Rejected is told by shape and place as well as by colour. Every chart has a text that says what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from anomalyvfm.server.pages.language import _, clock, day, moment, ngettext, number, percentage
from anomalyvfm.server.pages.wording import by, percent, score

_WIDTH, _HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 14, 34
_FLOOR = _HEIGHT - _BOTTOM

Buckets = Sequence[dict[str, Any]]


def rate_chart(buckets: Buckets, bucket: str) -> Markup:
    """Share of rejected parts over time, a bar a bucket; buckets without parts stay empty."""
    y = Axis(0, round_up(max([b["defect_rate"] or 0 for b in buckets] + [0.01]), 4), _FLOOR, _TOP)
    slot = _slot(buckets)
    seen = [(i, each) for i, each in enumerate(buckets) if each["inspections"]]
    bars = [
        _bar(
            "bar-bad",
            _LEFT + (i + 0.14) * slot,
            0.72 * slot,
            y.at(each["defect_rate"]),
            _("%(time)s: %(rejected)s of %(parts)s parts rejected")
            % {
                "time": moment(each["start"]),
                "rejected": number(each["anomalous"]),
                "parts": number(each["inspections"]),
            },
        )
        for i, each in seen
    ]
    label = _("Share of rejected parts %(by)s.") % {"by": by(bucket)}
    if seen:
        worst = max((each for _, each in seen), key=lambda each: each["defect_rate"])
        most = {"share": percent(worst["defect_rate"]), "time": moment(worst["start"])}
        label += " " + _("Highest: %(share)s, from %(time)s.") % most
    return _svg(
        [_grid(y, lambda share: percentage(share, 3, trimmed=True)), _times(buckets, bucket), *bars], label
    )


def mean_chart(buckets: Buckets, threshold: float | None, bucket: str) -> Markup:
    """Average score over time as a line, interrupted where no parts came, with the limit."""
    values = [b["mean_score"] for b in buckets if b["mean_score"] is not None]
    ends = [*values, 0.0, *([] if threshold is None else [threshold])]
    y = _framed(min(ends), max(ends), _FLOOR, _TOP)
    slot = _slot(buckets)
    runs: list[list[tuple[float, float]]] = [[]]
    for i, each in enumerate(buckets):
        if each["mean_score"] is None:
            runs.append([])
        else:
            runs[-1].append((round(_LEFT + (i + 0.5) * slot, 1), y.at(each["mean_score"])))
    marks = [_grid(y, _plain), _times(buckets, bucket)]
    if threshold is not None:
        down = y.at(threshold)
        marks += [
            element("path", class_="limit", d=f"M{_LEFT} {down}H{_WIDTH - _RIGHT}"),
            _text("limit-text", _WIDTH - _RIGHT - 2, down - 6 if down > 30 else down + 16, _limit(threshold)),
        ]
    for run in filter(None, runs):
        marks.append(element("path", class_="line", d=_path(run)))
        if len(run) == 1:
            marks.append(element("circle", class_="dot", cx=run[0][0], cy=run[0][1], r=4.5))
    label = _("Average score %(by)s.") % {"by": by(bucket)}
    if values:
        label += " " + _("From %(low)s to %(high)s.") % {
            "low": score(min(values)),
            "high": score(max(values)),
        }
    return _svg(marks, label)


def score_chart(
    histogram: dict[str, Any], threshold: float | None, shown: tuple[float, float] | None = None
) -> Markup:
    """How many parts had which score; the bars of rejected parts are hatched, the limit is a line.

    ``shown``: the scores from and to which the axis goes, where it is to be that of another chart too.
    """
    bins = [
        (left, right, n)
        for (left, right), n in zip(pairwise(histogram["edges"]), histogram["counts"], strict=True)
    ]
    while bins and not bins[0][2]:
        bins.pop(0)
    while bins and not bins[-1][2]:
        bins.pop()
    if not bins:
        return element("p", _("No scores yet."), class_="muted")
    ends = shown or [bins[0][0], bins[-1][1], *([] if threshold is None else [threshold])]
    x = _framed(min(ends), max(ends), _LEFT, _WIDTH - _RIGHT)
    y = Axis(0, round_up(max(n for *_ends, n in bins), 4), _FLOOR, _TOP)
    bars = [
        _bar(
            "bar-hatched" if threshold is not None and (left + right) / 2 > threshold else "bar-good",
            x.at(left) + 0.5,
            x.at(right) - x.at(left) - 1,
            y.at(n),
            ngettext("%(low)s to %(high)s: %(num)s part", "%(low)s to %(high)s: %(num)s parts", n)
            % {"low": score(left), "high": score(right), "num": number(n)},
        )
        for left, right, n in bins
        if n
    ]
    marks = [_HATCH, _grid(y, _plain), *bars]
    marks += [_text("tick", x.at(value), _HEIGHT - 10, _plain(value), "middle") for value in x.ticks(8)]
    everything = sum(n for *_ends, n in bins)
    label = ngettext(
        "Scores of %(num)s part, %(low)s to %(high)s.",
        "Scores of %(num)s parts, %(low)s to %(high)s.",
        everything,
    ) % {"num": number(everything), "low": score(bins[0][0]), "high": score(bins[-1][1])}
    if threshold is not None:
        across, left_of = x.at(threshold), x.at(threshold) > _WIDTH - 110
        marks += [
            element("path", class_="limit", d=f"M{across} {_TOP - 6}V{_FLOOR}"),
            _text(
                "limit-text",
                across - 7 if left_of else across + 7,
                _TOP + 6,
                _limit(threshold),
                "end" if left_of else "start",
            ),
        ]
        label += " " + _("Rejected above %(limit)s.") % {"limit": score(threshold)}
    return _svg(marks, label)


def what_if_chart(what_if: dict[str, Any], chosen: int) -> Markup:
    """How many of the last parts each promise would have rejected; the page's script moves the marker."""
    curve, floor = what_if["curve"], 150
    x = Axis(0, len(curve) - 1, _LEFT, _WIDTH - _RIGHT)
    y = Axis(0, round_up(max([step["rejected"] for step in curve] + [4]), 4), floor, _TOP)
    points = [(x.at(i), y.at(step["rejected"])) for i, step in enumerate(curve)]
    across, down = points[chosen]
    marks = [
        _grid(y, _plain),
        element("path", class_="area", d=f"{_path([(_LEFT, floor), *points, (x.end, floor)])}Z"),
        element("path", class_="line", d=_path(points)),
        element(
            "g",
            element("path", class_="marker", d=f"M{across} {_TOP}V{floor}"),
            element("circle", class_="dot", cx=across, cy=down, r=5.5),
            id="marker",
            data_points=" ".join(f"{right},{down}" for right, down in points),
        ),
    ]
    label = _("Parts rejected of the last %(parts)s: %(few)s for %(low)s, %(many)s for %(high)s.") % {
        "parts": number(what_if["parts"]),
        "few": number(curve[0]["rejected"]),
        "low": percent(curve[0]["rate"]),
        "many": number(curve[-1]["rejected"]),
        "high": percent(curve[-1]["rate"]),
    }
    marks += [
        _text("tick", x.start, floor + 16, percent(curve[0]["rate"]), "start"),
        _text("tick", x.end, floor + 16, percent(curve[-1]["rate"])),
        _text("tick", (x.start + x.end) / 2, floor + 16, _("good parts that may be rejected"), "middle"),
        _text("tick", _LEFT + 6, _TOP + 12, _("parts rejected"), "start"),
    ]
    return _svg(marks, label, floor + 24)


def gauge(value: float, threshold: float) -> dict[str, Any]:
    """Where a score lies beside its limit, on a bar 400 wide with the limit in its middle."""
    reach = max(abs(value - threshold), abs(threshold), 1.0) * 1.15
    axis = Axis(threshold - reach, threshold + reach, 4, 396)
    text = (
        _("Score %(score)s, above the limit of %(limit)s")
        if value > threshold
        else _("Score %(score)s, not above the limit of %(limit)s")
    )
    return {
        "score_x": axis.at(value),
        "limit_x": axis.at(threshold),
        "limit": score(threshold),
        "text": text % {"score": score(value), "limit": score(threshold)},
    }


def _svg(marks: Sequence[Markup], label: str, height: int = _HEIGHT) -> Markup:
    size = f"0 0 {_WIDTH} {height}"
    return element("svg", *marks, class_="chart", viewBox=size, role="img", aria_label=label)


def _bar(kind: str, left: float, width: float, top: float, label: str) -> Markup:
    """A bar from the floor up; a pixel of it shows that there was something to count, and none counted."""
    top = min(top, _FLOOR - 1)
    shape = {
        "x": round(left, 1),
        "y": top,
        "width": round(max(width, 1), 1),
        "height": round(_FLOOR - top, 1),
    }
    return element("rect", element("title", label), class_=kind, **shape)


def _grid(y: Axis, text: Callable[[float], str]) -> Markup:
    return Markup("").join(
        element(
            "path", class_="base" if value == y.low else "grid", d=f"M{_LEFT} {y.at(value)}H{_WIDTH - _RIGHT}"
        )
        + _text("tick", _LEFT - 8, y.at(value) + 4, text(value))
        for value in y.ticks(4)
    )


def _times(buckets: Buckets, bucket: str) -> Markup:
    """A few times under the axis: clock times for hours, dates for days."""
    every = max(1, math.ceil(len(buckets) / 6))
    starts = [datetime.fromisoformat(b["start"].replace("Z", "+00:00")) for b in buckets]
    return Markup("").join(
        _text(
            "tick",
            round(_LEFT + (i + 0.5) * _slot(buckets), 1),
            _HEIGHT - 10,
            clock(at) if bucket == "hour" else day(at),
            "middle",
            data_time=at.isoformat(),
        )
        for i, at in enumerate(starts)
        if i % every == 0
    )


def _slot(buckets: Buckets) -> float:
    return (_WIDTH - _LEFT - _RIGHT) / max(len(buckets), 1)


def _text(kind: str, x: float, y: float, text: str, anchor: str = "end", **more: str) -> Markup:
    return element("text", text, class_=kind, x=x, y=y, text_anchor=anchor, **more)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{across} {down}" for across, down in points)


def _framed(low: float, high: float, start: float, end: float) -> Axis:
    """An axis a little wider than its values, so that none lies on the frame."""
    pad = 0.04 * (high - low) or 0.5
    return Axis(low - pad, high + pad, start, end)


def _limit(threshold: float) -> str:
    return _("limit %(limit)s") % {"limit": score(threshold)}


def _plain(value: float) -> str:
    digits = max(0, 5 - math.floor(math.log10(abs(value)))) if abs(value) >= 1e-9 else 0
    return number(value, digits, trimmed=True)


def element(tag: str, *content: str, **attributes: object) -> Markup:
    """``<tag attributes>content</tag>``; text is escaped, Markup is taken as it is.

    Attributes are named as in Python: ``class_`` for class, ``text_anchor`` for text-anchor. Numbers are
    written to a tenth of a pixel, which no eye can tell from more.
    """
    head = Markup("").join(
        Markup(' {}="{}"').format(
            name.rstrip("_").replace("_", "-"), f"{value:.1f}" if isinstance(value, float) else value
        )
        for name, value in attributes.items()
    )
    return Markup("<{}{}>{}</{}>").format(tag, head, Markup("").join(content), tag)


@dataclass(frozen=True)
class Axis:
    """Maps values from ``low`` to ``high`` onto pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value, kept on the axis."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 1)

    def ticks(self, most: int) -> list[float]:
        """At most ``most`` round values from end to end."""
        step = round_step((self.high - self.low) / most)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10 … (times a power of ten) that is not under ``least``, which is > 0."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def round_up(value: float, most_ticks: int) -> float:
    """The end of an axis from 0 that holds ``value`` and lies on a tick."""
    step = round_step(value / most_ticks)
    return step * math.ceil(value / step - 1e-9)


_HATCH = element(
    "defs",
    element(
        "pattern",
        element("rect", class_="hatch-ground", width=6, height=6),
        element("path", class_="hatch-line", d="M0 0V6"),
        id="hatch",
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    ),
)
