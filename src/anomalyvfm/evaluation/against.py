"""Another model on the same test images: by how much the two differ, and what of it is more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anomalyvfm.data import ImageError
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.detector import Detector
from anomalyvfm.evaluation.report import Judged
from anomalyvfm.metrics.difference import image_differences
from anomalyvfm.metrics.image import image_metrics
from anomalyvfm.tracking import Tracker, untracked


def difference(
    images: Sequence[Judged], other: Detector, named: str, track: Tracker = untracked
) -> dict[str, Any]:
    """``against`` of metrics.json: how much better than ``other`` the model was that judged ``images``.

    Of the image metrics alone. ``reason`` says why there are none.
    """
    judged = other.judge([image.sample.path for image in images])
    pairs: list[tuple[Judged, Verdict]] = [
        (image, verdict)
        for image, (_, verdict) in zip(images, track(judged, len(images), "judging"), strict=True)
        if not isinstance(verdict, ImageError)
    ]
    labels = np.array([bool(image.sample.label) for image, _ in pairs], bool)
    mine, others = [image.verdict for image, _ in pairs], [verdict for _, verdict in pairs]
    scores = [verdict.score for verdict in mine], [verdict.score for verdict in others]
    decisions = [verdict.anomalous for verdict in mine], [verdict.anomalous for verdict in others]
    differences = image_differences(scores, labels, decisions)
    own, of_other = (
        image_metrics(one, labels, found, resamples=0) for one, found in zip(scores, decisions, strict=True)
    )
    return {
        "model": named,
        "images": len(pairs),
        "metrics": {
            name: {
                "value": own[name].value,
                "other": of_other[name].value,
                "difference": one.value,
                "interval": one.interval,
                "p_value": one.p_value,
                "noise": one.noise,
            }
            for name, one in differences.items()
        },
        "reason": None if differences else "needs two good and two defective images that both can read",
    }
