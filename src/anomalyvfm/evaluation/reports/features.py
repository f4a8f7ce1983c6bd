"""feature_analysis.png: where images lie in feature space, and what the model knows of good ones."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import ScalarFormatter
from numpy.typing import NDArray

from anomalyvfm.evaluation.report import Report
from anomalyvfm.evaluation.reports import style


def draw_features(report: Report) -> Figure:
    figure = style.new_figure(15, 4.9)
    axes = figure.subplots(1, 3, width_ratios=[1.25, 1, 1.2])
    _projection(axes[0], report)
    if report.learned is None:
        reason = "The model has learned a single image: no spread to show."
        style.explain(axes[1], "Covariance spectrum", reason)
        style.explain(axes[2], "Spread by position", reason)
    else:
        _spectrum(axes[1], report.learned.spectrum)
        _spread(axes[2], report.learned.by_position)
    return figure


def principal_plane(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The two directions in which (N, D) features vary most: coordinates (N, 2), shares of variance (2,).

    From the smaller of the two Gram matrices; zeros where nothing varies. A direction's sign is chosen so
    that its largest coordinate is positive, which makes the picture the same on every machine.
    """
    from scipy.linalg import eigh

    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    n, d = centred.shape
    total = float((centred**2).sum())
    # Rounding leaves dust on constant features, and the dust has directions.
    if min(n, d) < 2 or total <= 1e-12 * max(1.0, float((features.astype(np.float64) ** 2).sum())):
        return np.zeros((n, 2)), np.zeros(2)
    gram = centred @ centred.T if n <= d else centred.T @ centred
    values, vectors = eigh(gram, subset_by_index=(len(gram) - 2, len(gram) - 1))
    values = np.maximum(values[::-1], 0)
    plane = vectors[:, ::-1] * np.sqrt(values) if n <= d else centred @ vectors[:, ::-1]
    largest = plane[np.abs(plane).argmax(0), [0, 1]]
    return plane * np.where(largest < 0, -1.0, 1.0), values / total


def _projection(axes: Axes, report: Report) -> None:
    plane, shares = principal_plane(np.stack([image.verdict.summary for image in report.images]))
    style.tidy(
        axes,
        "Test images in feature space",
        f"1st principal component ({shares[0]:.0%} of the variance)",
        f"2nd principal component ({shares[1]:.0%})",
    )
    scores = np.array([image.verdict.score for image in report.images])
    bad = np.array([bool(image.sample.label) for image in report.images])
    low, high = np.percentile(scores, [1, 99])
    shown, names = None, []
    for members, marker, name in (
        (~bad, style.GOOD_MARKER, "good"),
        (bad, style.BAD_MARKER, "defective"),
    ):
        if members.any():
            shown = axes.scatter(
                plane[members, 0],
                plane[members, 1],
                c=scores[members],
                cmap="cividis_r",
                vmin=low,
                vmax=max(high, low + 1),
                marker=marker,
                s=float(np.clip(14_000 / len(scores), 14, 42)),
                edgecolor=style.INK,
                linewidth=0.4,
            )
            names.append(Line2D([], [], marker=marker, linestyle="", color=style.MUTED, label=name))
    axes.legend(handles=names, fontsize=9.5, handletextpad=0.2, framealpha=0.85, edgecolor="none")
    if shown is not None and axes.figure is not None:
        bar = axes.figure.colorbar(shown, ax=axes, pad=0.02, aspect=30)
        bar.formatter = ScalarFormatter(useOffset=False)
        bar.set_label("score", fontsize=10)
        bar.ax.tick_params(labelsize=9)
        bar.outline.set_visible(False)
        threshold = report.metrics["threshold"]
        if low < threshold < high:
            bar.ax.axhline(threshold, color="white", linewidth=3)
            bar.ax.axhline(threshold, color=style.INK, linewidth=1.3)
            bar.ax.text(
                -0.3,
                threshold,
                "threshold",
                rotation=90,
                transform=bar.ax.get_yaxis_transform(),
                ha="right",
                va="center",
                fontsize=9,
                color=style.INK,
            )


def _spectrum(axes: Axes, spectrum: NDArray[np.float64]) -> None:
    style.tidy(axes, "Covariance spectrum", "eigenvalue, from the largest", "variance (logarithmic)")
    positive = spectrum[spectrum > 1e-12 * spectrum[0]] if spectrum[0] > 0 else spectrum[:0]
    if not len(positive):
        style.explain(axes, "Covariance spectrum", "The good images do not vary at all.")
        return
    ranks = np.arange(1, len(positive) + 1)
    axes.set_yscale("log")
    axes.plot(ranks, positive, color=style.GOOD_DARK, linewidth=2.2)
    axes.fill_between(ranks, positive, positive[-1] * 0.5, color=style.GOOD, alpha=0.18, linewidth=0)
    axes.set_ylim(bottom=positive[-1] * 0.5)
    axes.set_xlim(0, len(positive) + 1)
    axes.minorticks_off()
    share = np.cumsum(positive) / positive.sum()
    ninety = int(np.searchsorted(share, 0.9)) + 1
    axes.plot(ninety, positive[ninety - 1], marker="D", color=style.BAD_DARK, markersize=7)
    axes.text(
        0.97,
        0.95,
        f"◆ {ninety} of {len(spectrum)} directions\nhold 90% of the variance",
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=10.5,
        linespacing=1.35,
        color=style.INK,
        bbox=style.backed(),
    )


def _spread(axes: Axes, spread: NDArray[np.float64]) -> None:
    axes.set_title("Spread by position", loc="left", fontsize=12, fontweight="bold", color=style.INK)
    low, high = float(spread.min()), float(spread.max())
    image = axes.imshow(spread, cmap=style.HEAT, vmin=low, vmax=max(high, low + 1e-6))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_anchor("N")
    axes.set_xlabel(
        "how much good images vary at each place\n(standard deviation; 1: the average patch)",
        fontsize=10,
        color=style.INK,
    )
    if axes.figure is not None:
        bar = axes.figure.colorbar(image, ax=axes, pad=0.02, aspect=30)
        bar.ax.tick_params(labelsize=9)
        bar.outline.set_visible(False)
