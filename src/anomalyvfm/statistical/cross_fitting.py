"""Calibration without a held-out image: each learned image is judged by what the others have taught."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomalyvfm.data.freed_memory import give_back
from anomalyvfm.decision.calibration import GoodScores
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.extractor import Extracted
from anomalyvfm.features.grouping import Labels, group_named, groups_of, placed_features
from anomalyvfm.features.store import FeatureStore
from anomalyvfm.statistical.scorer import StatisticalScorer
from anomalyvfm.tracking import Tracker

# An image is judged without a sixteenth of what judges a new one. Without an eighth boards score higher
# still, and 2.6 % of new ones are rejected at a promise of 5 %, where now it is 3.0 % (docs/results.md).
_FOLDS = 16


class KeptImages:
    """Those images that are judged again: at most ``most`` of ``count``, chosen by the seed.

    Of at most ``shown`` of them ``pixels`` are kept too, by row. ``grouped_by`` is the rule of `group_named`.
    """

    def __init__(
        self, path: Path, count: int, most: int, seed: int, shown: int = 0, grouped_by: str = "alike"
    ) -> None:
        self.store = FeatureStore(path)
        self._grouped_by = grouped_by
        self.keys: list[int] = []
        self.names: list[str] = []
        self._augmented = FeatureStore(path.with_name(f"{path.name}-augmented"))
        self._augmented_row: dict[int, int] = {}
        self.pixels: dict[int, NDArray[np.uint8]] = {}
        chosen = np.random.default_rng(seed).permutation(count)[:most].tolist()
        self._chosen, self._shown = set(chosen), set(chosen[:shown])
        self._placed: list[NDArray[np.float32]] = []

    def add(self, batch: Extracted, names: Sequence[str]) -> None:
        """Keep the features of those in the batch, and their names out of those of all images.

        Raises InputError where the disk takes no more.
        """
        rows = [row for row, position in enumerate(batch.positions) if position in self._chosen]
        if batch.features is not None and rows:
            place = {row: len(self.keys) + i for i, row in enumerate(rows)}
            features = batch.features.rows(rows)
            self.store.append(features)
            self._placed.append(placed_features(features.scales[-1].patches).cpu().numpy())
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

    def different(self) -> list[int]:
        """The first row of each different image."""
        rows = range(len(self.keys))
        return sorted({self.keys[row]: row for row in reversed(rows)}.values())

    def groups(self) -> Labels:
        """(n,) the group of each of the images, see `groups_of`."""
        named = [group_named(name, self._grouped_by) for name in self.names]
        return groups_of(np.concatenate(self._placed), self.keys, named)

    def summaries(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(n, D) of all, and how they change in another light; 0 where that was not learned."""
        summaries = self.store.summaries().to(device)
        changes = torch.zeros_like(summaries)
        if self._augmented_row:
            rows, numbers = map(list, zip(*self._augmented_row.items(), strict=True))
            changes[rows] = self._augmented.summaries()[numbers].to(device) - summaries[rows]
        return summaries, changes

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
