"""Which files a report consists of, and the order in which they are made."""

from __future__ import annotations

from pathlib import Path

from anomalyvfm.evaluation.evaluate import Report
from anomalyvfm.evaluation.reports.curves import draw_curves
from anomalyvfm.evaluation.reports.detections import draw_detections
from anomalyvfm.evaluation.reports.features import draw_features
from anomalyvfm.evaluation.reports.page import render_page
from anomalyvfm.evaluation.reports.scores import draw_scores
from anomalyvfm.evaluation.reports.style import save
from anomalyvfm.evaluation.reports.text import summary_text

FIGURES = {
    "anomaly_scores.png": draw_scores,
    "roc_curves.png": draw_curves,
    "sample_detections.png": draw_detections,
    "feature_analysis.png": draw_features,
}


def write_report(report: Report, folder: Path) -> None:
    """Write the figures, performance_summary.txt and report.html into an existing folder."""
    for name, draw in FIGURES.items():
        save(draw(report), folder / name)
    summary = summary_text(report)
    # A file name that is no valid text must not stop the report that mentions it.
    (folder / "performance_summary.txt").write_text(summary, encoding="utf-8", errors="replace")
    page = render_page(report, summary, {name: (folder / name).read_bytes() for name in FIGURES})
    (folder / "report.html").write_text(page, encoding="utf-8", errors="replace")
