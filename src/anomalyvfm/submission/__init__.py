"""The archive the MVTec AD 2 benchmark server takes: written from fitted models, and checked.

Layout and rules: https://benchmark.mvtec.com; Heckler-Kram et al., "The MVTec AD 2 Dataset", 2025.
"""

from anomalyvfm.submission.checking import check_submission
from anomalyvfm.submission.targets import Target, benchmark_targets, data_targets

__all__ = ["Target", "benchmark_targets", "check_submission", "data_targets"]
