"""Calibration without a held-out image: each learned image is judged by what the others have taught."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomalyvfm.calibration import GoodScores
from anomalyvfm.feature_store import FeatureStore
from anomalyvfm.scoring.scorer import Scorer
from anomalyvfm.tracking import Tracker


def cross_fit(
    scorer: Scorer,
    store: FeatureStore,
    keys: Sequence[int],
    folds: int,
    batch: int,
    seed: int,
    scores: GoodScores,
    track: Tracker,
) -> None:
    """Add to ``scores`` what the images of ``store``, all learned by ``scorer``, score without themselves.

    Fold by fold, a fold's share is taken out of the sums, its images are judged, and the share is put back:
    Vovk (2015), "Cross-conformal predictors". Each is judged with a little less learned than the final model
    has, so their scores are, on average, slightly above those of new good images: the promise errs on the
    side of fewer alarms. ``keys`` tell equal images, which share a fold: none is judged by its double.
    """
    if len(set(keys)) == 1:  # the camera sees one picture: nothing else could judge it
        keys = range(len(keys))
    images = np.random.default_rng(seed).permutation(sorted(set(keys)))
    fold_of = {key: number % folds for number, key in enumerate(images.tolist())}
    parts: list[list[int]] = [[] for _ in range(min(folds, len(images)))]
    for row, key in enumerate(keys):
        parts[fold_of[key]].append(row)
    for part in track(parts, len(parts), "calibrating"):
        batches = [part[start : start + batch] for start in range(0, len(part), batch)]
        for rows in batches:
            scorer.learn(store.take(rows, scorer.device), -1)
        for rows in batches:
            scores.add(*scorer.distances(store.take(rows, scorer.device)).numpy())
        for rows in batches:
            scorer.learn(store.take(rows, scorer.device))
