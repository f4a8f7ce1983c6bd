"""The choice of a fit, measured on good images that were not learned, with and without drawn defects."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.features.extractor import Extractor
from anomalyvfm.features.store import FeatureStore
from anomalyvfm.metrics.image import auroc
from anomalyvfm.presets import GaussianSettings
from anomalyvfm.statistical.choice import (
    WINDOWS,
    Choice,
    larger_pays,
    likely_to_tell,
    summary_weight,
)
from anomalyvfm.statistical.cross_fitting import learn_kept
from anomalyvfm.statistical.kept_images import KeptImages
from anomalyvfm.statistical.scorer import StatisticalScorer
from anomalyvfm.synthesis.drawn import KINDS, drawn_defect
from anomalyvfm.tracking import Tracker

_PLACES_TRIED = 50
IMAGES = 48
"""So many good images are looked at."""
_DRAWN = 160
# With fewer images nothing can be told from them.
_FEWEST = 8
# At most this share of the learned images is left out at a time.
_LEFT_OUT = 0.25


@dataclass(frozen=True)
class _Sample:
    """Rows of good images in groups; while a group is judged it has not been learned."""

    kept: KeptImages
    groups: list[list[int]]
    learned: bool
    batch: int

    @contextmanager
    def without(self, scorer: StatisticalScorer, group: Sequence[int]) -> Iterator[None]:
        if self.learned:
            learn_kept(scorer, self.kept, group, -1, self.batch)
        yield
        if self.learned:
            learn_kept(scorer, self.kept, group, 1, self.batch)


def choose(
    scorer: StatisticalScorer,
    kept: KeptImages,
    learned: bool,
    images: int,
    extractor: Extractor,
    settings: GaussianSettings,
    seed: int,
    track: Tracker,
) -> Choice:
    """What suits the product that ``scorer`` has learned from so many ``images``.

    ``kept`` are good images with their pixels, which were ``learned`` or not. Where settings name a window or
    scales, these are taken.
    """
    counts = Counter(kept.keys)
    rows = [row for row in kept.pixels if counts[kept.keys[row]] == 1]
    size = max(1, int(_LEFT_OUT * images)) if learned else len(rows)
    groups = [rows[start : start + size] for start in range(0, len(rows), max(1, size))]
    sample = _Sample(kept, groups, learned, extractor.batch)
    enough = len(rows) >= _FEWEST

    window: int = settings.window or 1
    densities: dict[int, float] = {}
    if settings.window is None and enough:
        with sample.without(scorer, groups[0]):
            window, densities = _by_density(scorer, kept, groups[0], extractor.batch)
    weight = settings.summary_weight
    if weight is None:
        weight = summary_weight(images, extractor.backbone.summary_channels)

    every = tuple(range(len(scorer.grids)))
    banks = tuple(scorer.banks) if window > 1 else ()
    told: list[float] = []
    if settings.experts == "auto" and window > 1 and len(every) + len(banks) > 1 and enough:
        scorer.choose(Choice(window, every, weight, banks))
        told = _told(scorer, sample, extractor, seed, track)
    counting = {"auto": every, "all": every, "fine": every[:1], "coarse": every[-1:]}[settings.experts]
    if settings.experts != "auto":
        beside = () if settings.experts == "coarse" else (len(every),)  # the detail is of the largest
        banks = tuple(number for number in banks if number in (*counting, *beside))
    if told:
        likely = likely_to_tell(told)
        counting = tuple(scale for scale in every if scale in likely)
        banks = tuple(number for number in banks if len(every) + number in likely)
    return Choice(window, counting, weight, banks, densities, tuple(told))


def _by_density(
    scorer: StatisticalScorer, kept: KeptImages, rows: Sequence[int], batch: int
) -> tuple[int, dict[int, float]]:
    """The largest window that pays, and by window the mean log density of the patches of these images.

    They are those of the largest scale.
    """
    chosen, found = 1, {}
    for window in WINDOWS:
        densities: list[float] = []
        for start in range(0, len(rows), batch):
            features = kept.store.take(rows[start : start + batch], scorer.device)
            densities += scorer.patches[0].log_densities(features, window).tolist()
        found[window] = float(np.mean(densities))
        if window > 1 and not larger_pays(found[chosen], found[window]):
            break
        chosen = window
        if window >= max(scorer.grid.shape):
            break
    return chosen, found


def _told(
    scorer: StatisticalScorer, sample: _Sample, extractor: Extractor, seed: int, track: Tracker
) -> list[float]:
    """How well each scale tells drawn defects: areas under the ROC curve."""
    rows = [row for group in sample.groups for row in group]
    each = min(len(KINDS), math.ceil(_DRAWN / len(rows)))
    store = FeatureStore(sample.kept.store.path.with_name("drawn"))
    drawn = _drawn(sample.kept, rows, each, seed, extractor.inside)
    batches = math.ceil(len(rows) * each / extractor.batch)
    for extracted in track(extractor.extract(drawn), batches, "choosing"):
        assert extracted.features is not None  # they were drawn, not read
        store.append(extracted.features)

    first = {row: number * each for number, row in enumerate(rows)}
    good: list[NDArray[np.float64]] = []
    defective: list[NDArray[np.float64]] = []
    for group in sample.groups:
        spoilt = [first[row] + number for row in group for number in range(each)]
        with sample.without(scorer, group):
            for kept, places, scores in ((sample.kept.store, group, good), (store, spoilt, defective)):
                for start in range(0, len(places), extractor.batch):
                    features = kept.take(places[start : start + extractor.batch], scorer.device)
                    scores.append(scorer.patch_scores(features).double().cpu().numpy())
    labels = np.repeat([0, 1], [len(rows), len(rows) * each])
    found = np.concatenate([*good, *defective])
    areas = (float(auroc(found[:, number], labels).value or 0.5) for number in range(found.shape[1]))
    return [round(area, 4) for area in areas]  # as they are written: what follows from them is the same


def _drawn(
    kept: KeptImages, rows: Sequence[int], each: int, seed: int, inside: NDArray[np.bool_] | None
) -> Iterator[NDArray[np.uint8]]:
    """Every kind in turn, ``each`` so often on an image, at a place ``inside`` where only that counts."""
    kinds = list(KINDS)
    for number, row in enumerate(rows):
        good, other = kept.pixels[row], kept.pixels[rows[number - 1]]
        for place in range(number * each, (number + 1) * each):
            rng = np.random.default_rng([seed, place])
            for _ in range(_PLACES_TRIED):
                drawn = drawn_defect(good, other, kinds[place % len(kinds)], rng)
                if inside is None or (drawn != good)[inside].any():
                    break
            yield drawn
