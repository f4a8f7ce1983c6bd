"""The next version of a model begins as a copy of the one that judges."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anomalyvfm.detector import Detector


def clone(detector: Detector) -> Detector:
    """A copy that may learn and forget while the original judges; they share the backbone."""
    other = copy.copy(detector)
    other.scorer_ = copy.deepcopy(detector.scorer_)
    other.learned_ = detector.learned_.copy()
    other.skipped_ = []
    return other
