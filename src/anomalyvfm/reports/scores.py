"""anomaly_scores.png: how far the scores of good and defective images lie apart."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from anomalyvfm.evaluation import Judged, Report
from anomalyvfm.reports import style

_MOST_GROUPS = 14


def draw_scores(report: Report) -> Figure:
    """Histogram of all scores; below it every single one, by condition and kind; the threshold in both."""
    groups = _groups(report.images)
    figure = style.new_figure(9.5, 4.4 + 0.34 * len(groups))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 0.34 * len(groups) + 0.5])
    _histogram(upper, report)
    _strips(lower, groups, report.metrics["threshold"])
    return figure


def _histogram(axes: Axes, report: Report) -> None:
    good = np.array([image.score for image in report.images if not image.sample.label])
    bad = np.array([image.score for image in report.images if image.sample.label])
    threshold = report.metrics["threshold"]
    edges = _edges(np.concatenate([good, bad]), threshold)
    bins = edges.tolist()
    style.tidy(axes, f"Anomaly scores: {style.plain(report.metrics['category'])}", y="images per bin")
    axes.hist(good, bins, color=style.GOOD, edgecolor=style.GOOD_DARK, linewidth=0.6, alpha=0.9)
    axes.hist(bad, bins, facecolor="none", edgecolor=style.BAD, hatch=style.BAD_HATCH, linewidth=0)
    axes.hist(bad, bins, histtype="step", color=style.BAD_DARK, linewidth=1.6)
    axes.set_ylim(top=axes.get_ylim()[1] * 1.3)
    _threshold_line(axes, threshold)
    top = axes.get_ylim()[1]
    side = "left" if threshold < edges.mean() else "right"
    gap = 0.008 * (edges[-1] - edges[0]) * (1 if side == "left" else -1)
    axes.text(
        threshold + gap,
        0.985 * top,
        f"threshold {threshold:.2f}\n{'anomalous →' if side == 'left' else 'above: anomalous →'}",
        ha=side,
        va="top",
        fontsize=10,
        color=style.INK,
        bbox=style.backed(),
        zorder=6,
    )
    named = [(good, "good", style.GOOD_DARK), (bad, "defective", style.BAD_DARK)]
    span, highest, last = edges[-1] - edges[0], 0.0, -np.inf
    for scores, name, colour in named:
        if not len(scores):
            continue
        x, y = _peak(scores, edges)
        # Above peaks that are close, the names are stacked.
        close = abs(x - last) < 0.3 * span
        side = "left" if x < edges[0] + 0.1 * span else "right" if x > edges[-1] - 0.1 * span else "center"
        axes.annotate(
            f"{name} ({len(scores)})",
            (x, max(y, highest) if close else y),
            xytext=(0, 22 if close else 4),
            textcoords="offset points",
            ha=side,
            fontsize=11,
            fontweight="bold",
            color=colour,
            bbox=style.backed(1),
            zorder=6,
        )
        highest, last = y, x


def _peak(scores: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[float, float]:
    """Middle and height of the fullest bin."""
    counts, _ = np.histogram(scores, edges)
    at = int(counts.argmax())
    return float(edges[at] + edges[at + 1]) / 2, float(counts[at])


def _strips(axes: Axes, groups: list[tuple[str, bool, NDArray[np.float64]]], threshold: float) -> None:
    rng = np.random.default_rng(0)  # jitter only: it moves points up and down, which means nothing
    style.tidy(axes, "", x="score (standard deviations of good images above their mean)")
    axes.grid(visible=False, axis="y")
    for row, (_, bad, scores) in enumerate(groups):
        axes.scatter(
            scores,
            row + rng.uniform(-0.28, 0.28, len(scores)),
            s=13,
            marker=style.BAD_MARKER if bad else style.GOOD_MARKER,
            facecolor="none" if bad else style.GOOD,
            edgecolor=style.BAD if bad else style.GOOD_DARK,
            linewidth=0.7,
            alpha=0.75,
        )
        axes.annotate(
            f"{int((scores > threshold).sum())} of {len(scores)} above",
            (1.0, row),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=style.INK,
            annotation_clip=False,
        )
    _threshold_line(axes, threshold)
    names = [style.plain(style.shorten(name, 28)) for name, _, _ in groups]
    axes.set_yticks(range(len(groups)), names, fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(groups) - 0.4, -0.6)


def _threshold_line(axes: Axes, threshold: float) -> None:
    axes.axvline(threshold, color=style.INK, linewidth=1.4, linestyle=(0, (5, 2)))


def _edges(scores: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    low, high = min(scores.min(), threshold), max(scores.max(), threshold)
    margin = 0.03 * (high - low) or 0.5
    # About the square root of the number of images, as usual, but never so few that shapes vanish.
    return np.linspace(low - margin, high + margin, 1 + int(np.clip(2 * np.sqrt(len(scores)), 12, 60)))


def _groups(images: list[Judged]) -> list[tuple[str, bool, NDArray[np.float64]]]:
    """(name, defective, scores): good images by condition, then defects by kind, or else by condition."""
    by_condition = len({image.sample.condition for image in images}) > 1
    kinds = {image.sample.kind for image in images if image.sample.label}
    found: dict[tuple[bool, str], list[float]] = {}

    def order(group: tuple[bool, str]) -> tuple[bool, bool, str]:
        return group[0], not group[1].endswith("regular"), group[1]  # what is usual comes first

    for image in images:
        bad = bool(image.sample.label)
        parts = [image.sample.kind if bad and len(kinds) > 1 else "defective" if bad else "good"]
        if by_condition and (len(kinds) <= 1 or not bad):
            parts.append(image.sample.condition or "other")
        found.setdefault((bad, ", ".join(parts)), []).append(image.score)
    groups = [(name, bad, np.array(found[bad, name])) for bad, name in sorted(found, key=order)]
    if len(groups) <= _MOST_GROUPS:
        return groups
    # Too many to tell apart: good and defective only.
    return [
        (name, bad, np.array([image.score for image in images if bool(image.sample.label) == bad]))
        for name, bad in (("good", False), ("defective", True))
        if any(bool(image.sample.label) == bad for image in images)
    ]
