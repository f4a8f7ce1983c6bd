"""Charts: well-formed, inside their frame, and true to the numbers."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone
from typing import Any
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.server.pages.charts import (
    Axis,
    element,
    gauge,
    mean_chart,
    rate_chart,
    round_step,
    round_up,
    score_chart,
    what_if_chart,
)
from anomalyvfm.server.pages.views import without_gaps

START = datetime(2026, 11, 23, tzinfo=timezone.utc)


@st.composite
def buckets(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for hour in range(draw(st.integers(0, 40))):
        parts = draw(st.integers(0, 500))
        rejected = draw(st.integers(0, parts))
        found.append(
            {
                "start": (START + timedelta(hours=hour)).isoformat(),
                "inspections": parts,
                "anomalous": rejected,
                "defect_rate": rejected / parts if parts else None,
                "mean_score": draw(st.floats(-50, 50)) if parts else None,
            }
        )
    return found


@given(buckets(), st.none() | st.floats(-20, 20))
def test_charts_over_time_stay_in_their_frame(
    given_buckets: list[dict[str, Any]], threshold: float | None
) -> None:
    rate = ElementTree.fromstring(rate_chart(given_buckets, "hour"))
    bars = [bar for bar in rate.iter("rect") if bar.get("class") == "bar-bad"]
    assert len(bars) == sum(each["inspections"] > 0 for each in given_buckets)
    for bar in bars:
        assert _number(bar, "x") >= 52 and _number(bar, "x") + _number(bar, "width") <= 625
        assert _number(bar, "y") >= 14 and _number(bar, "y") + _number(bar, "height") <= 226.1
    mean = ElementTree.fromstring(mean_chart(given_buckets, threshold, "hour"))
    points = [
        point.split()
        for path in mean.iter("path")
        if path.get("class") == "line"
        for point in (path.get("d") or "").removeprefix("M").split(" L")
    ]
    assert len(points) == sum(each["mean_score"] is not None for each in given_buckets)
    assert all(52 <= float(x) <= 624 and 14 <= float(y) <= 226 for x, y in points)


def test_heights_of_bars_are_in_proportion_to_the_share() -> None:
    given_buckets = [
        {
            "start": START.isoformat(),
            "inspections": 100,
            "anomalous": n,
            "defect_rate": n / 100,
            "mean_score": 0.0,
        }
        for n in (5, 10, 20)
    ]
    bars = ElementTree.fromstring(rate_chart(given_buckets, "hour")).iter("rect")
    small, middle, large = (_number(bar, "height") for bar in bars)
    assert middle / small == pytest.approx(2, rel=0.02) and large / small == pytest.approx(4, rel=0.02)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=40), st.none() | st.floats(-5, 30))
def test_histogram_has_a_bar_for_each_filled_bin_and_hatches_the_rejected(
    counts: list[int], threshold: float | None
) -> None:
    edges = [-3 + 0.5 * i for i in range(len(counts) + 1)]
    drawn = score_chart({"edges": edges, "counts": counts}, threshold)
    if not any(counts):
        assert "No scores yet" in drawn
        return
    bars = [bar.get("class") for bar in ElementTree.fromstring(drawn).iter("rect")]
    centres = [left + 0.25 for left, n in zip(edges, counts, strict=False) if n]
    rejected = sum(threshold is not None and centre > threshold for centre in centres)
    assert bars.count("bar-hatched") == rejected
    assert bars.count("bar-good") == len(centres) - rejected


def test_empty_histogram_says_so() -> None:
    assert "No scores yet" in score_chart({"edges": [], "counts": []}, 2.5)


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=20), st.data())
def test_what_if_marks_the_step_chosen(rejected: list[int], data: st.DataObject) -> None:
    chosen = data.draw(st.integers(0, len(rejected) - 1))
    curve = [{"rate": 0.01 * (i + 1), "rejected": n} for i, n in enumerate(rejected)]
    drawn = ElementTree.fromstring(what_if_chart({"parts": 1000, "curve": curve}, chosen))
    marker = next(group for group in drawn.iter("g") if group.get("id") == "marker")
    points = (marker.get("data-points") or "").split()
    dot = next(marker.iter("circle"))
    assert len(points) == len(rejected)
    assert points[chosen] == f"{dot.get('cx')},{dot.get('cy')}"


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_gauge_puts_a_score_on_its_side_of_the_limit(value: float, threshold: float) -> None:
    drawn = gauge(value, threshold)
    assert 4 <= drawn["score_x"] <= 396 and drawn["limit_x"] == 200
    assert (drawn["score_x"] - 200) * (value - threshold) >= 0


@given(st.floats(1e-6, 1e9), st.integers(1, 10))
def test_axis_ends_on_a_tick_and_has_no_more_than_asked(value: float, most: int) -> None:
    end = round_up(value, most)
    ticks = Axis(0, end, 0, 100).ticks(most)
    assert end >= value * (1 - 1e-9) and len(ticks) <= most + 1
    assert ticks[0] == 0 and ticks[-1] == pytest.approx(end)
    assert round_step(value) >= value * (1 - 1e-9)


def test_text_in_a_drawing_is_escaped() -> None:
    assert element("title", "<b>&", class_='"') == '<title class="&#34;">&lt;b&gt;&amp;</title>'


@given(st.sets(st.integers(0, 30)), st.sampled_from(["hour", "day"]))
def test_empty_times_between_buckets_are_filled(known: set[int], bucket: Any) -> None:
    step = timedelta(hours=1) if bucket == "hour" else timedelta(days=1)
    given_buckets = [
        {
            "start": (START + n * step).isoformat(),
            "inspections": 5,
            "anomalous": 1,
            "defect_rate": 0.2,
            "mean_score": 1.0,
        }
        for n in sorted(known)
    ]
    since, until = START + timedelta(minutes=20), START + 30 * step + timedelta(minutes=20)
    filled = without_gaps(given_buckets, since, until, bucket, timezone.utc)
    starts = [datetime.fromisoformat(each["start"]) for each in filled]
    assert starts == [START + n * step for n in range(31)]
    assert {n for n, each in enumerate(filled) if each["inspections"]} == known


@given(
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu"]),
    st.datetimes(datetime(2026, 1, 2), datetime(2026, 12, 30)),
    st.sampled_from(["hour", "day"]),
)
def test_buckets_are_whole_hours_and_days_by_the_clock_of_the_site(
    name: str, start: datetime, bucket: Any
) -> None:
    """Also where an hour comes twice, or never, as in Berlin on 25 October and 29 March 2026."""
    zone = ZoneInfo(name)
    since = start.replace(tzinfo=timezone.utc)
    filled = without_gaps([], since, since + timedelta(days=30), bucket, zone)
    starts = [datetime.fromisoformat(each["start"]) for each in filled]
    assert starts[0] <= since < starts[1] and starts[-1] <= since + timedelta(days=30)
    local = [at.astimezone(zone) for at in starts]
    assert all((at.minute, at.second) == (0, 0) for at in local)
    steps = {later - earlier for earlier, later in itertools.pairwise(starts)}
    if bucket == "hour":
        assert steps == {timedelta(hours=1)}
    else:
        assert all(at.hour == 0 for at in local)
        assert [at.date() for at in local] == [local[0].date() + timedelta(days=n) for n in range(len(local))]
        assert steps <= {timedelta(hours=23), timedelta(hours=24), timedelta(hours=25)}


def _number(found: ElementTree.Element, name: str) -> float:
    return float(found.get(name) or "nan")
