"""Which files a report consists of, and the order in which they are made."""

from __future__ import annotations

import json
from pathlib import Path

from anomalyvfm.evaluation.report import Report
from anomalyvfm.evaluation.reports.curves import draw_curves
from anomalyvfm.evaluation.reports.detections import draw_detections
from anomalyvfm.evaluation.reports.features import draw_features
from anomalyvfm.evaluation.reports.page import render_page
from anomalyvfm.evaluation.reports.scores import draw_scores
from anomalyvfm.evaluation.reports.style import save
from anomalyvfm.evaluation.reports.text import summary_text
from anomalyvfm.files import new_folder

FIGURES = {
    "anomaly_scores.png": draw_scores,
    "roc_curves.png": draw_curves,
    "sample_detections.png": draw_detections,
    "feature_analysis.png": draw_features,
}


def save_report(report: Report, out: Path, overwrite: bool = False) -> None:
    """Write metrics.json, the figures, performance_summary.txt and report.html to a new folder, whole or not.

    Raises InputError where ``out`` cannot be new.
    """
    with new_folder(out, overwrite) as folder:
        metrics = json.dumps(report.metrics, indent=2, allow_nan=False)
        (folder / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
        for name, draw in FIGURES.items():
            save(draw(report), folder / name)
        summary = summary_text(report)
        # A file name that is no valid text must not stop the report that mentions it.
        (folder / "performance_summary.txt").write_text(summary, encoding="utf-8", errors="replace")
        page = render_page(report, summary, {name: (folder / name).read_bytes() for name in FIGURES})
        (folder / "report.html").write_text(page, encoding="utf-8", errors="replace")
