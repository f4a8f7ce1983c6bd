"""roc_curves.png: image ROC, per-region overlap, and precision-recall, side by side."""

from __future__ import annotations

from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anomalyvfm.evaluation.report import Report
from anomalyvfm.evaluation.reports import style
from anomalyvfm.metrics.image import sweep
from anomalyvfm.metrics.summary import AUPRO_LIMITS
from anomalyvfm.metrics.sweep import Sweep


def draw_curves(report: Report) -> Figure:
    figure = style.new_figure(14, 4.9)
    roc, pro, precision_recall = figure.subplots(1, 3)
    swept = None
    if report.metrics["image_auroc"] is not None:
        scores = np.array([image.verdict.score for image in report.images])
        labels = np.array([bool(image.sample.label) for image in report.images])
        swept = sweep(scores, labels)
    _roc(roc, report, swept)
    _pro(pro, report)
    _precision_recall(precision_recall, report, swept)
    return figure


def _roc(axes: Axes, report: Report, swept: Sweep | None) -> None:
    metrics = report.metrics
    title = "Image ROC"
    if swept is None:
        style.explain(axes, title, f"No curve: {metrics['reasons']['image_auroc']}.")
        return
    style.tidy(
        axes, title, "false-positive rate (good images rejected)", "true-positive rate (defects found)"
    )
    fpr, tpr = swept.roc()
    axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1, linestyle=":")
    axes.text(0.62, 0.57, "chance", color=style.MUTED, fontsize=9, rotation=45, ha="center", va="center")
    axes.fill_between(fpr, tpr, color=style.GOOD, alpha=0.18, linewidth=0)
    axes.plot(fpr, tpr, color=style.GOOD_DARK, linewidth=2.2)
    found, rejected = metrics["detection_rate"], metrics["false_alarm_rate"]
    axes.plot(rejected, found, marker="D", color=style.BAD_DARK, markersize=8, clip_on=False, zorder=5)
    lines = [f"AUROC {metrics['image_auroc']:.3f}"]
    if interval := metrics["intervals"].get("image_auroc"):
        lines.append(f"95%: {interval[0]:.3f} to {interval[1]:.3f}")
    lines += ["", "◆ at the threshold:", f"{found:.1%} found,", f"{rejected:.1%} of good rejected"]
    # In the corner the curve keeps away from, whichever side of chance it is on.
    below_chance = metrics["image_auroc"] < 0.5
    _corner(axes, "\n".join(lines), left=below_chance, top=below_chance)
    _unit_square(axes)


def _pro(axes: Axes, report: Report) -> None:
    title = "Per-region overlap (PRO)"
    if report.pro_curve is None:
        style.explain(axes, title, f"No curve: {report.metrics['reasons']['aupro_0.30']}.")
        return
    style.tidy(
        axes, title, "false-positive rate (anomaly-free pixels)", "PRO (mean share found of each defect)"
    )
    wide, narrow = AUPRO_LIMITS
    fpr, pro = report.pro_curve
    axes.fill_between(fpr, pro, color=style.GOOD, alpha=0.18, linewidth=0)
    inside = np.linspace(0, narrow, 64)
    axes.fill_between(
        inside,
        np.interp(inside, fpr, pro),
        facecolor="none",
        edgecolor=style.GOOD_DARK,
        hatch="....",
        alpha=0.5,
        linewidth=0,
    )
    axes.plot(fpr, pro, color=style.GOOD_DARK, linewidth=2.2)
    axes.axvline(narrow, color=style.MUTED, linewidth=1, linestyle=(0, (5, 2)))
    lines = [
        f"AU-PRO {report.metrics[f'aupro_{limit:.2f}']:.3f} up to FPR {limit:.2f}" for limit in AUPRO_LIMITS
    ]
    _corner(axes, "\n".join(lines))
    axes.set_xlim(0, wide)
    axes.set_ylim(0, 1.02)
    axes.set_xticks([0, narrow, 0.1, 0.15, 0.2, 0.25, wide])


def _precision_recall(axes: Axes, report: Report, swept: Sweep | None) -> None:
    metrics = report.metrics
    title = "Precision and recall"
    pixel = report.pixel_pr_curve
    if swept is None and pixel is None:
        style.explain(axes, title, f"No curve: {metrics['reasons']['image_ap']}.")
        return
    style.tidy(axes, title, "recall", "precision")
    at = None
    if swept is not None:
        recall, precision = swept.precision_recall()
        axes.plot(recall, precision, color=style.GOOD_DARK, linewidth=2.2)
        at = float(precision[(recall >= 0.4) & (recall <= 0.8)].min(initial=1.0)) - 0.03
        _name(axes, (0.42, at), f"images: AP {metrics['image_ap']:.3f}", style.GOOD_DARK, below=True)
    if pixel is None:
        reason = style.plain(f"no pixel curve: {metrics['reasons']['pixel_ap']}")
        _corner(axes, fill(reason, 40), left=True)
    else:
        axes.plot(*pixel, color=style.BAD, linewidth=2.2, linestyle=(0, (4, 1.5)))
        height = float(np.interp(np.linspace(0.35, 0.75, 9), *pixel).max())
        below = at is not None and abs(height - at) < 0.2 and height > 0.3
        place = (0.35, height + (-0.2 if below else 0.04))
        _name(axes, place, f"pixels: AP {metrics['pixel_ap']:.3f}", style.BAD_DARK, below)
    _unit_square(axes)


def _name(axes: Axes, at: tuple[float, float], text: str, colour: str, below: bool) -> None:
    axes.text(
        *at,
        text,
        ha="left",
        va="top" if below else "bottom",
        fontsize=11,
        fontweight="bold",
        color=colour,
        bbox=style.backed(),
    )


def _corner(axes: Axes, text: str, left: bool = False, top: bool = False) -> None:
    axes.text(
        0.04 if left else 0.97,
        0.95 if top else 0.04,
        text,
        transform=axes.transAxes,
        ha="left" if left else "right",
        va="top" if top else "bottom",
        fontsize=11,
        linespacing=1.35,
        color=style.INK,
        bbox=style.backed(),
    )


def _unit_square(axes: Axes) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(0, 1.02)
