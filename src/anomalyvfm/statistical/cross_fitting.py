"""Calibration without a held-out image: each learned image is judged by what the others have taught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from anomalyvfm.decision.calibration import GoodScores
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.extractor import Extracted
from anomalyvfm.features.store import FeatureStore
from anomalyvfm.statistical.scorer import StatisticalScorer
from anomalyvfm.tracking import Tracker

_FOLDS = 8


class KeptImages:
    """Those images that are judged again: at most ``most`` of ``count``, chosen by the seed.

    Of at most ``shown`` of them ``pixels`` are kept too, by row.
    """

    def __init__(self, path: Path, count: int, most: int, seed: int, shown: int = 0) -> None:
        self.store = FeatureStore(path)
        self.keys: list[int] = []
        self.names: list[str] = []
        self._augmented = FeatureStore(path.with_name(f"{path.name}-augmented"))
        self._augmented_row: dict[int, int] = {}
        self.pixels: dict[int, NDArray[np.uint8]] = {}
        chosen = np.random.default_rng(seed).permutation(count)[:most].tolist()
        self._chosen, self._shown = set(chosen), set(chosen[:shown])

    def add(self, batch: Extracted, names: Sequence[str]) -> None:
        """Keep the features of those in the batch, and their names out of those of all images.

        Raises InputError where the disk takes no more.
        """
        rows = [row for row, position in enumerate(batch.positions) if position in self._chosen]
        if batch.features is not None and rows:
            place = {row: len(self.keys) + i for i, row in enumerate(rows)}
            self.store.append(batch.features.rows(rows))
            for row in rows:
                if batch.positions[row] in self._shown:
                    self.pixels[place[row]] = batch.images[row].pixels
            self.keys += [batch.images[row].key for row in rows]
            self.names += [names[batch.positions[row]] for row in rows]
            augmented = [i for i, row in enumerate(batch.augmented_rows) if row in place]
            if batch.augmented is not None and augmented:
                numbers = range(len(self._augmented), len(self._augmented) + len(augmented))
                self._augmented_row.update(
                    zip([place[batch.augmented_rows[i]] for i in augmented], numbers, strict=True)
                )
                self._augmented.append(batch.augmented.rows(augmented))

    def augmented(self, rows: Sequence[int], device: torch.device) -> tuple[list[int], PatchFeatures | None]:
        """Which of the rows were learned in another light too, by place, and their features in it."""
        places = [place for place, row in enumerate(rows) if row in self._augmented_row]
        if not places:
            return [], None
        return places, self._augmented.take([self._augmented_row[rows[place]] for place in places], device)


def cross_fit(
    scorer: StatisticalScorer,
    kept: KeptImages,
    batch: int,
    seed: int,
    scores: GoodScores,
    track: Tracker,
) -> None:
    """Add to ``scores`` what images, all learned by ``scorer``, score without themselves.

    Fold by fold, a fold's share is taken out of the map's sums, its images are judged, and the share is put
    back: Vovk (2015), "Cross-conformal predictors". Summaries are judged without a single image each. Closed
    forms for leaving one image out would be quicker, but leave its share in the prior that all positions have
    in common: too little to see in most images, and too much in the tail that thresholds are made of. Equal
    images, which their keys tell, share a fold and count once: none is judged by its double, and a copy backs
    no promise.
    """
    store = kept.store
    keys: Sequence[int] = kept.keys
    counts = Counter(keys)
    first: dict[int, int] = {}  # the row of each different image
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    judged = set(first.values())
    if len(counts) == 1:  # the camera sees one picture: nothing else could judge it
        keys, counts = range(len(keys)), Counter(range(len(keys)))
    images = np.random.default_rng(seed).permutation(sorted(counts))
    fold_of = {key: number % _FOLDS for number, key in enumerate(images.tolist())}
    folds: list[list[int]] = [[] for _ in range(min(_FOLDS, len(images)))]
    for row, key in enumerate(keys):
        folds[fold_of[key]].append(row)
    scores.cross_fitted = True
    for fold in track(folds, len(folds), "calibrating"):
        batches = [fold[start : start + batch] for start in range(0, len(fold), batch)]
        for rows in batches:
            learn_kept(scorer, kept, rows, -1)
        for batch_rows in batches:
            rows = [row for row in batch_rows if row in judged]
            if not rows:
                continue
            features = store.take(rows, scorer.device)
            copies = torch.tensor([counts[keys[row]] for row in rows], device=scorer.device)
            changes = torch.zeros_like(features.summary)
            places, augmented = kept.augmented(rows, scorer.device)
            if augmented is not None:
                changes[places] = augmented.summary - features.summary[places]
            distances = scorer.distances_without(features, copies, changes).numpy()
            scores.add(*distances, [kept.names[row] for row in rows])
        for rows in batches:
            learn_kept(scorer, kept, rows, 1)


def learn_kept(scorer: StatisticalScorer, kept: KeptImages, rows: Sequence[int], sign: int) -> None:
    """Add the patches of some of the kept images to the sums, or with ``sign=-1`` take them back."""
    features = kept.store.take(rows, scorer.device)
    scorer.learn_map(features, sign)
    places, augmented = kept.augmented(rows, scorer.device)
    if augmented is not None:
        scorer.learn_map_augmented(features.rows(places), augmented, sign)
