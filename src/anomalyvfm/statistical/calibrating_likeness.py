"""The calibration with confirmed defects: a pure function of them and of what good images have shown."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from anomalyvfm.decision.calibration import Alternative, Array, Calibration, GoodScores
from anomalyvfm.decision.odd_patches import OddPatches
from anomalyvfm.errors import InputError
from anomalyvfm.statistical.scorer import StatisticalScorer
from anomalyvfm.statistical.weighing_defects import weigh

# A response as large as the largest of a usual good image raises its patch by so many standard deviations of
# good patches' distances: more would have what looks like a defect hide those unlike it (docs/trials.md).
_RISE = 1.5


def calibrated_with_defects(scorer: StatisticalScorer, calibration: Calibration) -> Calibration:
    """A calibration of the scorer, with or without confirmed defects, made anew with those of now.

    How like them good images are, how far their maps are raised, and how much likeness counts, follow from
    the good images' odd patches, judged when they calibrated. The promise is of all scores together. Without
    a defect it is, to the last bit, the calibration from before the first. Raises InputError where odd
    patches were not kept.
    """
    plain = _without_defects(scorer, calibration)
    defects = scorer.defects
    if not defects:
        scorer.count_defects(None)
        return plain
    odd = require_odd(plain)
    moments = defects.moments(scorer.patches)

    def responses(patches: OddPatches, without: Collection[int] = ()) -> Tensor:
        direction = torch.cat(moments.directions(without)).float().cpu().numpy()
        return torch.from_numpy(patches.along(direction))

    def likeness(responses: Tensor) -> Array:
        found: Array = scorer.likeness(responses).double().numpy()
        return found

    of_good = responses(odd)
    like = likeness(of_good)
    usual = max(float(np.log(like).mean()), 1.0)
    defects.rise = _RISE * plain.map_location[1] / usual
    scores = GoodScores()
    names = [""] * len(like)  # which image scores what is of no importance here
    maps = scorer.raised_by(odd, of_good).double().numpy()
    scores.add(maps, np.column_stack([plain.image_scores, like]), names)
    counted = replace(
        plain,
        image_scores=scores.image_scores,
        map_maxima=scores.map_maxima,
        map_histogram=scores.map_histogram,
        map_levels=None if plain.map_levels is None else scores.map_levels,
    )
    others = len(defects.images) > 1
    found, beside = [], []
    for key, one in sorted(defects.images.items()):
        shown = responses(one.odd, (key,) if others else ())
        found.append(np.append(one.image_scores, likeness(shown)))
        if one.odd_beside.any():
            beside.append(likeness(shown[:, torch.from_numpy(one.odd_beside)]))

    def calibrated(image_scores: Array, alternatives: tuple[Alternative, ...]) -> Calibration:
        return replace(counted, image_scores=image_scores, alternatives=alternatives)

    def alternatives(log_prior: float | None) -> tuple[Alternative, ...]:
        scorer.count_defects(log_prior)
        return scorer.alternatives

    likeness_beside = np.concatenate([*beside, np.empty(0)])
    log_prior = weigh(scores.image_scores, np.stack(found), likeness_beside, calibrated, alternatives)
    scorer.count_defects(log_prior)
    return replace(counted, alternatives=scorer.alternatives)


def require_odd(calibration: Calibration) -> OddPatches:
    """What good images show where they are oddest. Raises InputError where that was not kept."""
    if calibration.odd is None:
        raise InputError("this model was fitted before defects could be confirmed later; fit it anew")
    return calibration.odd


def _without_defects(scorer: StatisticalScorer, calibration: Calibration) -> Calibration:
    alternatives = scorer.choice.alternatives(len(scorer.grids), scorer.judges_light)
    count = len(alternatives[0].weights)
    if calibration.image_scores.shape[1] == count or calibration.odd is None:
        return calibration
    scores = GoodScores()
    maps = calibration.odd.maps.astype(np.float64)
    scores.add(maps, calibration.image_scores[:, :count], [""] * len(maps))
    return replace(
        calibration,
        image_scores=np.ascontiguousarray(scores.image_scores),
        map_maxima=scores.map_maxima,
        map_histogram=scores.map_histogram,
        map_levels=None if calibration.map_levels is None else scores.map_levels,
        alternatives=alternatives,
    )
