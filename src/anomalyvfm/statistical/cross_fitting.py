"""Calibration without a held-out image: each learned image is judged by what the others have taught."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomalyvfm.data.freed_memory import give_back
from anomalyvfm.decision.calibration import GoodScores
from anomalyvfm.statistical.kept_images import KeptImages
from anomalyvfm.statistical.scorer import StatisticalScorer
from anomalyvfm.tracking import Tracker

# An image is judged without a sixteenth of what judges a new one. Without an eighth boards score higher
# still, and 2.6 % of new ones are rejected at a promise of 5 %, where now it is 3.0 % (docs/results.md).
_FOLDS = 16


def cross_fit(
    scorer: StatisticalScorer,
    kept: KeptImages,
    batch: int,
    seed: int,
    scores: GoodScores,
    track: Tracker,
) -> None:
    """Add to ``scores`` what images, all learned by ``scorer``, score without themselves and their group.

    Fold by fold, a fold's share is taken out of the map's sums, its images are judged, and the share is put
    back: Vovk (2015), "Cross-conformal predictors". Summaries are judged without fewer of them. Closed
    forms for leaving one image out would be quicker, but leave its share in the prior that all positions have
    in common: too little to see in most images, and too much in the tail that thresholds are made of. Images
    of a group share a fold: none is judged by its like. Of equal ones, which their keys tell, one counts.
    """
    labels = kept.groups()
    groups = [np.flatnonzero(labels == label).tolist() for label in range(labels.max() + 1)]
    if len(groups) == 1:  # the camera sees one product: nothing else could judge it
        groups = [[row] for row in groups[0]]
    groups.sort(key=lambda group: min(kept.keys[row] for row in group))  # in whatever order they were learned
    summaries, changes = kept.summaries(scorer.device)
    light = kept.store.light().to(scorer.device) if scorer.judges_light else None
    whole_scores = scorer.whole_scores_without(summaries, changes, light, groups)

    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    folds = [
        [row for number in order[start::_FOLDS] for row in groups[number]]
        for start in range(min(_FOLDS, len(groups)))
    ]
    judged = set(kept.different())
    scores.groups += int(labels.max()) + 1
    scores.cross_fitted = True
    for fold in track(folds, len(folds), "calibrating"):
        batches = [fold[start : start + batch] for start in range(0, len(fold), batch)]
        learn_kept(scorer, kept, fold, -1, batch)
        for batch_rows in batches:
            rows = [row for row in batch_rows if row in judged]
            if not rows:
                continue
            features = kept.store.take(rows, scorer.device)
            found = scorer.distances_of_good_with(features, whole_scores[rows])
            scores.add(*found.numpy(), [kept.names[row] for row in rows], found.odd)
        learn_kept(scorer, kept, fold, 1, batch)


def learn_kept(
    scorer: StatisticalScorer, kept: KeptImages, rows: Sequence[int], sign: int, batch: int
) -> None:
    """Take the patches of some of the kept images out of what is known by ``sign=-1``, or put them back."""
    give_back()  # judging has left pieces that arrays of other sizes, needed here, would not fit in
    scorer.leave_out({kept.keys[row] for row in rows} if sign < 0 else ())
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        features = kept.store.take(part, scorer.device)
        scorer.learn_map(features, sign)
        places, augmented = kept.augmented(part, scorer.device)
        if augmented is not None:
            scorer.learn_map_augmented(features.rows(places), augmented, sign)
    give_back()
