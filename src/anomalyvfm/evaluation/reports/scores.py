"""anomaly_scores.png: how far the scores of good and defective images lie apart."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from anomalyvfm.evaluation.report import Judged, Report
from anomalyvfm.evaluation.reports import style

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
    good = np.array([image.verdict.score for image in report.images if not image.sample.label])
    bad = np.array([image.verdict.score for image in report.images if image.sample.label])
    threshold = report.metrics["threshold"]
    edges = _edges(np.concatenate([good, bad]), threshold)
    bins = edges.tolist()
    title = f"Anomaly scores: {style.plain(style.shorten(report.metrics['category'], 24))}"
    style.tidy(axes, title, y="images per bin")
    axes.hist(good, bins, color=style.GOOD, edgecolor=style.GOOD_DARK, linewidth=0.6, alpha=0.9)
    axes.hist(bad, bins, facecolor="none", edgecolor=style.BAD, hatch=style.BAD_HATCH, linewidth=0)
    axes.hist(bad, bins, histtype="step", color=style.BAD_DARK, linewidth=1.6)
    axes.set_ylim(top=axes.get_ylim()[1] * 1.25)  # room for what is written at the threshold
    _threshold_line(axes, threshold)
    side = "left" if threshold < edges.mean() else "right"
    axes.annotate(
        f"threshold {threshold:.2f}\n{'anomalous →' if side == 'left' else 'above: anomalous →'}",
        (threshold, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(5 if side == "left" else -5, -3),
        textcoords="offset points",
        ha=side,
        va="top",
        fontsize=10,
        color=style.INK,
        bbox=style.backed(),
        zorder=6,
    )
    # Beside the title: above the bars a name would lie on the other kind's, or far from its own.
    names = [
        Patch(facecolor=style.GOOD, edgecolor=style.GOOD_DARK, label=f"good ({len(good)})"),
        Patch(
            facecolor="none", edgecolor=style.BAD_DARK, hatch=style.BAD_HATCH, label=f"defective ({len(bad)})"
        ),
    ]
    axes.legend(
        handles=[name for name, scores in zip(names, (good, bad), strict=True) if len(scores)],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=2,
        frameon=False,
        borderaxespad=0.2,
        borderpad=0.2,
        fontsize=11,
        columnspacing=1.4,
        handlelength=1.6,
        labelcolor=style.INK,
    )


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
        found.setdefault((bad, ", ".join(parts)), []).append(image.verdict.score)
    groups = [(name, bad, np.array(found[bad, name])) for bad, name in sorted(found, key=order)]
    if len(groups) <= _MOST_GROUPS:
        return groups
    # Too many to tell apart: good and defective only.
    return [
        (name, bad, np.array([image.verdict.score for image in images if bool(image.sample.label) == bad]))
        for name, bad in (("good", False), ("defective", True))
        if any(bool(image.sample.label) == bad for image in images)
    ]
