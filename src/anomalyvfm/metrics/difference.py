"""What of a difference between two models, measured on the same images, is more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from anomalyvfm.metrics.image import image_metrics, resampled
from anomalyvfm.metrics.sweep import FloatArray

_NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Difference:
    """By how much a metric of one model exceeds that of another.

    Attributes:
        value: the difference.
        interval: what 95 % of repetitions with other images would show, were this one typical.
        p_value: how often chance alone would make two equal models differ as much, either way.
    """

    value: float
    interval: tuple[float, float]
    p_value: float

    @property
    def noise(self) -> bool:
        """Whether models that are equal would differ as much in one of twenty comparisons."""
        return self.p_value >= 0.05


@dataclass(frozen=True)
class Placements:
    """Where each image stands among those of the other label: its share of the area under the ROC curve.

    Attributes:
        bad: (M,) of each defective image, the share of good ones that score less; equal ones count one half.
        good: (N,) of each good image, the share of defective ones that score more.
    """

    bad: FloatArray
    good: FloatArray

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike) -> Placements:
        """From scores (M + N,) and labels, of which there are both, each more than once."""
        values, truth = np.asarray(scores, np.float64), np.asarray(labels, bool)
        bad, good = values[truth], values[~truth]
        return cls(_share_below(bad, good), 1 - _share_below(good, bad))

    def __sub__(self, other: Placements) -> Placements:
        return Placements(self.bad - other.bad, self.good - other.good)

    @property
    def area(self) -> float:
        """Area under the ROC curve; of differences, the difference of the two areas."""
        return float(self.bad.mean())

    @property
    def variance(self) -> float:
        """Of the area, were other images drawn.

        DeLong, DeLong and Clarke-Pearson (1988), "Comparing the areas under two or more correlated receiver
        operating characteristic curves": a difference's placements are the differences of the two models'.
        """
        parts = (self.bad, self.good)
        return sum(float(part.var(ddof=1)) / len(part) for part in parts)


def area_difference(sets: Sequence[Sequence[Placements]]) -> Difference:
    """The mean difference of areas over independent sets of images, by DeLong's test.

    Of a set there may be several differences, as of models fitted by other seeds. Their mean varies with the
    images no more than they do on average, which is what is taken: as if they were one.
    """
    value = float(np.mean([np.mean([one.area for one in several]) for several in sets]))
    variances = [float(np.mean([one.variance for one in several])) for several in sets]
    error = math.sqrt(sum(variances)) / len(sets)
    # Without any spread only models that rank all images alike do not differ.
    p_value = math.erfc(abs(value) / error / math.sqrt(2)) if error > 0 else float(value == 0)
    return Difference(value, (value - _NORMAL_95 * error, value + _NORMAL_95 * error), p_value)


def image_differences(
    scores: tuple[ArrayLike, ArrayLike],
    labels: ArrayLike,
    decisions: tuple[ArrayLike, ArrayLike],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Difference]:
    """By how much the first of two models exceeds the second, for each of `image_metrics`.

    The area under the ROC curve is tested by DeLong's test. For the others the images are drawn anew, the
    same for both models: the paired bootstrap (Efron and Tibshirani 1993, ch. 16), with percentiles as the
    interval. Without what a metric needs, or with a single image of a label, there is no difference to test.
    """
    truth = np.asarray(labels, bool)
    if min(int(truth.sum()), int((~truth).sum())) < 2:
        return {}
    models = [
        (np.asarray(one, np.float64), truth, np.asarray(found, bool))
        for one, found in zip(scores, decisions, strict=True)
    ]
    first, second = (image_metrics(*model, resamples=0) for model in models)
    drawn, other_drawn = (resampled(*model, resamples, seed) for model in models)
    found = {}
    for name, metric in first.items():
        value, other_value = metric.value, second[name].value
        if value is not None and other_value is not None:
            found[name] = _by_bootstrap(value - other_value, drawn[name] - other_drawn[name])
    if "image_auroc" in found:
        areas, other_areas = (Placements.of(model[0], truth) for model in models)
        found["image_auroc"] = area_difference([[areas - other_areas]])
    return found


def _by_bootstrap(value: float, drawn: FloatArray) -> Difference:
    low, high = np.quantile(drawn, (0.025, 0.975))
    # Draws scatter around the difference as they would around none, were there none. One more than there are
    # is counted: a test of few draws cannot say never.
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return Difference(value, (float(low), float(high)), min(1.0, 2 * (rarer + 1) / (len(drawn) + 1)))


def _share_below(scores: FloatArray, others: FloatArray) -> FloatArray:
    """(N,) the share of the others that each score exceeds; equal ones count one half."""
    ranked = np.sort(others)
    below = np.searchsorted(ranked, scores, "left") + np.searchsorted(ranked, scores, "right")
    share: FloatArray = below / (2 * len(others))
    return share
