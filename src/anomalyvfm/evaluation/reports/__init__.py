"""An evaluation's report as files: figures, a summary in plain text, and one page that shows it all."""

from anomalyvfm.evaluation.reports.writing import FIGURES, write_report

__all__ = ["FIGURES", "write_report"]
