"""From features to verdicts: score, calibrate, decide."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from anomalyvfm.data import InputFrame
from anomalyvfm.data.roi import Roi
from anomalyvfm.decision.calibration import Calibration, logarithms_of
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.explain.explainer import Explainer
from anomalyvfm.features.extractor import Extracted
from anomalyvfm.pipeline import Scorer


def verdicts_of(
    batch: Extracted,
    scorer: Scorer,
    calibration: Calibration,
    frame: InputFrame,
    explainer: Explainer | None,
    keep_pixels: bool,
    roi: Roi | None = None,
    least: tuple[float, int] = (0.0, 0),
) -> Iterator[Verdict]:
    """Verdicts on a batch's images, in order; ``keep_pixels`` leaves each image in its verdict.

    ``least`` are the peak and the area that a region must have to count.

    One by one: maps at full resolution, once asked for, then live no longer than their verdict.
    """
    if batch.features is None:
        return
    started = time.perf_counter()
    distances, image_scores = scorer.distances_in_parts(batch.features, scorer.distances).numpy()
    scores = calibration.score(image_scores)
    light = calibration.light(logarithms_of(image_scores)) if scorer.judges_light else None
    maps = calibration.anomaly_map(distances).astype(np.float32)
    # A copy: a view would keep all of the backbone's tokens for as long as the verdict lives.
    summaries = batch.features.summary.float().flatten(1).cpu().numpy().copy()
    seconds = (batch.seconds + time.perf_counter() - started) / len(batch.sources)
    for row, (image, score) in enumerate(zip(batch.images, scores, strict=True)):
        anomalous = bool(score > calibration.threshold)
        verdict = Verdict(
            score=float(score),
            p_value=calibration.p_value(float(score)),
            anomalous=anomalous,
            threshold=calibration.threshold,
            anomaly_map=maps[row],
            size=image.size,
            frame=frame,
            low_threshold=calibration.low_threshold,
            high_threshold=calibration.high_threshold,
            seconds=seconds,
            summary=summaries[row],
            pixels=image.pixels if keep_pixels else None,
            promised=calibration.promised,
            light=None if light is None else float(light[row]),
            roi=roi,
            least=least,
            own_thresholds=calibration.own_thresholds(maps[row]) if anomalous else None,
            explain=explainer.of(batch.features, row) if anomalous and explainer else None,
        )
        yield verdict.by_regions()
