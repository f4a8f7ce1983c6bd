"""An exported model beside the detector it was made from, on real images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalyvfm.data import ImageSource
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.runtime import Runtime


@dataclass(frozen=True)
class Parity:
    """The largest differences over some images."""

    images: int
    score: float
    """In standard deviations of good images' scores."""
    p_value: float
    map: float
    """In standard deviations of good pixels."""

    def describe(self) -> str:
        return (
            f"over {self.images} images score differs by at most {self.score:.2g}, p-value by"
            f" {self.p_value:.2g}, map by {self.map:.2g}"
        )


def compare(expected: Sequence[Verdict], runtime: Runtime, images: Sequence[ImageSource]) -> Parity:
    """How far a runtime's verdicts on ``images`` are from those expected."""
    score = p_value = map_ = 0.0
    for mine, theirs in zip(expected, runtime.predict(images), strict=True):
        score = max(score, abs(mine.score - theirs.score))
        p_value = max(p_value, abs(mine.p_value - theirs.p_value))
        map_ = max(map_, float(np.abs(mine.anomaly_map - theirs.anomaly_map).max()))
    return Parity(len(images), score, p_value, map_)
