"""From a batch of features to verdicts: distances, calibrated."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from anomalyvfm.data import Canvas
from anomalyvfm.decision.calibration import Calibration
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.explain.explainer import Explainer
from anomalyvfm.features.extractor import Extracted
from anomalyvfm.scorer import Scorer


def judge_batch(
    batch: Extracted,
    scorer: Scorer,
    calibration: Calibration,
    canvas: Canvas,
    explainer: Explainer | None,
    keep_pixels: bool,
) -> Iterator[Verdict]:
    """One by one: maps at full resolution, once asked for, then live no longer than their verdict."""
    if batch.features is None:
        return
    started = time.perf_counter()
    cells, opinions = scorer.distances(batch.features).numpy()
    scores = calibration.score(opinions)
    center, spread = calibration.map_location
    grids = ((cells - center) / spread).astype(np.float32)
    # A copy: a view would keep all of the backbone's tokens for as long as the verdict lives.
    summaries = batch.features.summary.float().flatten(1).cpu().numpy().copy()
    seconds = (batch.seconds + time.perf_counter() - started) / len(batch.sources)
    for row, (image, score) in enumerate(zip(batch.images, scores, strict=True)):
        anomalous = bool(score > calibration.threshold)
        yield Verdict(
            score=float(score),
            p_value=calibration.p_value(float(score)),
            anomalous=anomalous,
            threshold=calibration.threshold,
            grid=grids[row],
            size=image.size,
            canvas=canvas,
            outline_level=calibration.outline_level,
            region_level=calibration.region_level,
            seconds=seconds,
            summary=summaries[row],
            pixels=image.pixels if keep_pixels else None,
            explain=explainer.of(batch.features, row) if anomalous and explainer else None,
        )
