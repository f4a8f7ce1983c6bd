"""Calibration without a held-out image: each learned image is judged by what the others have taught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from anomalyvfm.calibration import GoodScores
from anomalyvfm.feature_store import FeatureStore
from anomalyvfm.scoring.positional import PositionalScorer
from anomalyvfm.tracking import Tracker

_FOLDS = 8


def cross_fit(
    scorer: PositionalScorer,
    store: FeatureStore,
    keys: Sequence[int],
    batch: int,
    seed: int,
    scores: GoodScores,
    track: Tracker,
) -> None:
    """Add to ``scores`` what the images of ``store``, all learned by ``scorer``, score without themselves.

    Fold by fold, a fold's share is taken out of the map's sums, its images are judged, and the share is put
    back: Vovk (2015), "Cross-conformal predictors". Summaries are judged without a single image each. Closed
    forms for leaving one image out would be quicker, but leave its share in the prior that all cells have in
    common: too little to see in most images, and too much in the tail that thresholds are made of. ``keys``
    tell equal images, which share a fold: none is judged by its double.
    """
    counts = Counter(keys)
    if len(counts) == 1:  # the camera sees one picture: nothing else could judge it
        keys, counts = range(len(keys)), Counter(range(len(keys)))
    images = np.random.default_rng(seed).permutation(sorted(counts))
    fold_of = {key: number % _FOLDS for number, key in enumerate(images.tolist())}
    folds: list[list[int]] = [[] for _ in range(min(_FOLDS, len(images)))]
    for row, key in enumerate(keys):
        folds[fold_of[key]].append(row)
    for fold in track(folds, len(folds), "calibrating"):
        batches = [fold[start : start + batch] for start in range(0, len(fold), batch)]
        for rows in batches:
            scorer.learn_map(store.take(rows, scorer.device), -1)
        for rows in batches:
            copies = torch.tensor([counts[keys[row]] for row in rows], device=scorer.device)
            scores.add(*scorer.distances_without(store.take(rows, scorer.device), copies).numpy())
        for rows in batches:
            scorer.learn_map(store.take(rows, scorer.device))
