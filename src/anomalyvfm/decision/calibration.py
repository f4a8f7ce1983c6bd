"""Scores of held-out good images become standard scores, p-values, thresholds and outline levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.decision.odd_patches import OddPatches
from anomalyvfm.decision.own_thresholds import levels_of, own_thresholds, usual_levels

Array = NDArray[np.float64]
Values = Any
"""An array, or a tensor of a graph that is traced: what arithmetic alone is done with."""

# Logarithmic bins, 1 % wide, from far below any distance of a good patch to far above it.
_EDGES = np.geomspace(1e-4, 1e6, 2316)

# What is known of spreads before any image: logarithms of good images' distances vary by about this much
# (0.1 to 0.4 on real data), a knowledge worth this many observations. It keeps scores and thresholds
# sensible with a handful of images, and is outweighed by a few dozen.
_USUAL_SPREAD = 0.25
_PRIOR_FREEDOM = 3
# Of a normal distribution the standard deviation is so many median absolute deviations.
_MAD_OF_NORMAL = 1.4826
# Standard deviations: good images' scores have longer tails than the normal distribution.
_OUTLYING, _LEAST_SCORE_SPREAD = 5.0, 0.1
# Distances are about 1 on good patches; a spread below this is that of a constant image.
_LEAST_MAP_SPREAD = 0.01


CALIBRATION_ARRAYS = ("image_scores", "map_maxima", "map_histogram", "map_levels")
"""What is stored of a calibration, beside what it is asked to keep to."""


class Alternative(NamedTuple):
    """One way in which a defect may show: in these image scores together, so likely beforehand."""

    weights: tuple[float, ...]
    """(K,) of the image scores' standard scores, which are added up."""
    log_prior: float = 0.0
    """Logarithm of how likely it is, beside the other alternatives."""


@dataclass(frozen=True)
class Calibration:
    """What good images scored, each by a scorer that had not learned it, and what follows from it.

    ``image_scores`` (n, K) and ``map_maxima`` (n,) hold the K scores a scorer gives an image and its largest
    patch distance, all > 0; ``map_histogram`` counts patch distances in logarithmic bins; ``alternatives``
    tell how the image scores are joined into one. Everything adds up: :meth:`merge` of two machines'
    calibrations is the calibration of all their images.
    """

    image_scores: Array
    map_maxima: Array
    map_histogram: Array
    alternatives: tuple[Alternative, ...]
    false_alarm_rate: float
    pixel_rate: float
    cross_fitted: bool = False
    """Whether some scores are of learned images: not quite exchangeable with those of new ones."""
    groups: int | None = None
    """How many independent groups the images are of; None: each is its own."""
    odd: OddPatches | None = None
    """What the images show where they are oddest, in their order, by a pipeline that learns from defects."""
    map_levels: Array | None = None
    """(n, S) distances that so many of each image's patches exceed; None of an older model."""

    def merge(self, other: Calibration) -> Calibration:
        return Calibration(
            np.concatenate([self.image_scores, other.image_scores]),
            np.concatenate([self.map_maxima, other.map_maxima]),
            self.map_histogram + other.map_histogram,
            self.alternatives,
            self.false_alarm_rate,
            self.pixel_rate,
            self.cross_fitted or other.cross_fitted,
            self.independent + other.independent,
            None if self.odd is None or other.odd is None else OddPatches.joined([self.odd, other.odd]),
            None
            if self.map_levels is None or other.map_levels is None
            else np.concatenate([self.map_levels, other.map_levels]),
        )

    def arrays(self) -> dict[str, Array]:
        """What good images scored, by the names of `CALIBRATION_ARRAYS`."""
        arrays = {name: getattr(self, name) for name in CALIBRATION_ARRAYS}
        return {name: array for name, array in arrays.items() if array is not None}

    def describe(self) -> dict[str, Any]:
        """What ``model.json`` says of it."""
        return {
            "images": self.count,
            "groups": self.independent,
            "false_alarm_rate": self.false_alarm_rate,
            "threshold": self.threshold,
            "promised": self.promised,
            "cross_fitted": self.cross_fitted,
        }

    @property
    def count(self) -> int:
        return len(self.image_scores)

    @property
    def independent(self) -> int:
        """How many groups stand behind a promise: photographs of one part are not independent."""
        return self.count if self.groups is None else self.groups

    @property
    def images_needed(self) -> int:
        return images_needed(self.false_alarm_rate)

    @property
    def promised(self) -> bool:
        """Whether the threshold is conformal; else it is estimated from the spread of too few scores."""
        return self.independent >= self.images_needed

    def score(self, image_scores: Array) -> Array:
        """Standard scores (m,) of (m, K) image scores.

        0 is the average good image, 1 a standard deviation of good images above it.
        """
        scores: Array = self.joined(logarithms_of(image_scores), np.logaddexp)
        return scores

    def joined(self, logarithms: Values, logaddexp: Callable[[Values, Values], Values]) -> Values:
        """As :meth:`score`, of the logarithms of image scores; an array, or a tensor while a graph is traced.

        Distances are positive and skewed, their logarithms close to normal. ``logaddexp`` is that of arrays
        or of tensors.
        """
        center, spread = self._joined_location
        return (self._joined_evidence(logarithms, logaddexp) - center) / spread

    def light(self, logarithms: Values) -> Values:
        """(m,) what images would score by their light alone, where that is the last of the alternatives.

        By the logarithms of (m, K) image scores; as :meth:`joined`, of an array or of a tensor.
        """
        weights, log_prior = self.alternatives[-1]
        center, spread = self._joined_location
        return (self._weighted_sum(logarithms, weights) + log_prior - center) / spread

    def anomaly_map(self, patch_distances: Values) -> Values:
        """Patch distances, any shape, in standard deviations of good ones; as an array or a tensor."""
        center, spread = self.map_location
        return (patch_distances - center) / spread

    def p_value(self, score: float) -> float:
        """Share of good images at least as anomalous: conformal, (1 + rank) / (1 + n).

        Vovk, Gammerman & Shafer (2005), "Algorithmic Learning in a Random World", ch. 2: for a good image
        exchangeable with the held-out ones, P(p ≤ a) ≤ a.
        """
        return float(self.p_value_of(self.count - np.searchsorted(self._sorted, score, side="left")))

    def p_value_of(self, above: Values) -> Values:
        """As :meth:`p_value`, by how many good images score at least as high; as an array or a tensor."""
        return (1 + above) / (1 + self.count)

    @property
    def scores(self) -> Array:
        """Standard scores of the good images, ascending."""
        return self._sorted

    @property
    def outlying(self) -> float:
        """The score above which one of the good images is no tail of the others.

        By the modified z-score, of medians, which outliers do not move: Iglewicz & Hoaglin (1993), "How to
        Detect and Handle Outliers".
        """
        middle = float(np.median(self.scores))
        spread = _MAD_OF_NORMAL * float(np.median(np.abs(self.scores - middle)))
        return middle + _OUTLYING * max(spread, _LEAST_SCORE_SPREAD)

    @cached_property
    def threshold(self) -> float:
        """Images scoring above are anomalous; a good image does with probability ≤ ``false_alarm_rate``.

        That is a promise where it is `promised`, else an estimate.
        """
        return score_threshold(self._sorted, self.false_alarm_rate)

    @cached_property
    def map_location(self) -> tuple[float, float]:
        """Mean and standard deviation of the distances of good patches: the zero and the unit of maps."""
        centers = np.sqrt(_EDGES[:-1] * _EDGES[1:])
        weights = self.map_histogram / self.map_histogram.sum()
        mean = float(weights @ centers)
        variance = float(weights @ (centers - mean) ** 2)
        return mean, max(math.sqrt(variance), _LEAST_MAP_SPREAD)

    @cached_property
    def low_threshold(self) -> float:
        """Map value that only ``pixel_rate`` of all good pixels exceed: how far a region reaches."""
        share_below = np.cumsum(self.map_histogram) / self.map_histogram.sum()
        edge = _EDGES[1 + int(np.searchsorted(share_below, 1 - self.pixel_rate))]
        mean, spread = self.map_location
        return (float(edge) - mean) / spread

    @cached_property
    def high_threshold(self) -> float:
        """Map value a region must reach somewhere to count: few good images reach it anywhere."""
        return high_threshold(self.map_maxima, self.map_location, self.false_alarm_rate, self.low_threshold)

    @cached_property
    def usual_levels(self) -> Array | None:
        """(S,) distances that such shares of hardly any good image exceed; None of an older model."""
        return None if self.map_levels is None else usual_levels(self.map_levels)

    def own_thresholds(self, anomaly_map: NDArray[np.float32]) -> tuple[float, float]:
        """Low and high threshold of an image by its own map (h, w)."""
        model = self.low_threshold, self.high_threshold
        if self.usual_levels is None:
            return model
        return own_thresholds(anomaly_map, self.map_location, self.usual_levels, *model)

    @cached_property
    def _image_score_locations(self) -> list[tuple[float, float]]:
        """Mean and spread of the logarithms of each of the K image_scores of good images."""
        return [_location(good, _USUAL_SPREAD) for good in logarithms_of(self.image_scores).T]

    @cached_property
    def _joined_location(self) -> tuple[float, float]:
        """Mean and spread of good images' evidence: the zero and the unit of scores."""
        return _location(self._joined_evidence(logarithms_of(self.image_scores), np.logaddexp), 1.0)

    @cached_property
    def _sorted(self) -> Array:
        return np.sort(self.score(self.image_scores))

    def _joined_evidence(self, logarithms: Values, logaddexp: Callable[[Values, Values], Values]) -> Values:
        """(m,) log Σ_a prior_a · exp(evidence_a): a standard score taken as the logarithm of a likelihood
        ratio, that of a mixture of alternatives is their sum, weighted by how likely each is beforehand.
        """
        evidence = (
            self._weighted_sum(logarithms, weights) + log_prior for weights, log_prior in self.alternatives
        )
        return reduce(logaddexp, evidence)

    def _weighted_sum(self, logarithms: Values, weights: tuple[float, ...]) -> Values:
        return sum(
            weight * (logarithms[:, number] - center) / spread
            for number, ((center, spread), weight) in enumerate(
                zip(self._image_score_locations, weights, strict=True)
            )
            if weight
        )


def score_threshold(scores: Array, false_alarm_rate: float) -> float:
    """Of good images' scores, in ascending order, the value a new one exceeds with probability ≤ the rate."""
    return _upper_bound(scores, false_alarm_rate, 1.0)


def high_threshold(
    map_maxima: Array, map_location: tuple[float, float], false_alarm_rate: float, low_threshold: float
) -> float:
    """Map value that good images, with these largest distances, exceed with probability ≤ the rate."""
    mean, spread = map_location
    peak = math.exp(_upper_bound(np.sort(logarithms_of(map_maxima)), false_alarm_rate, _USUAL_SPREAD))
    return max((peak - mean) / spread, low_threshold)


def images_needed(false_alarm_rate: float) -> int:
    """Good images from which on the rate is a promise that holds for any distribution of scores."""
    return math.ceil(1 / false_alarm_rate - 1e-9) - 1


class GoodScores:
    """Collects what good images score, batch by batch, for a calibration."""

    def __init__(self) -> None:
        self.groups = 0
        """How many independent groups the images are of."""
        self._image_scores: list[Array] = []
        self._map_maxima: list[Array] = []
        self._map_levels: list[Array] = []
        self.names: list[str] = []
        self.map_histogram = distance_histogram(np.empty(0))
        self.cross_fitted = False
        """Whether some are of learned images, each scored by what the others have taught."""
        self._odd: list[OddPatches] = []

    def __len__(self) -> int:
        return sum(map(len, self._map_maxima))

    def add(
        self,
        patch_distances: Array,
        image_scores: Array,
        names: Sequence[str],
        odd: OddPatches | None = None,
    ) -> None:
        """Patch distances (B, H, W) and image scores (B, K) of a batch, by a scorer without its images.

        A distance of 0 is that of a patch which does not count. ``odd`` are given for all batches or none.
        """
        self._odd += [] if odd is None else [odd]
        self.names += names
        self._image_scores.append(image_scores)
        self._map_maxima.append(patch_distances.reshape(len(patch_distances), -1).max(1))
        self._map_levels.append(levels_of(patch_distances))
        counting = patch_distances[patch_distances > 0]
        self.map_histogram += distance_histogram(counting if counting.size else patch_distances)

    @property
    def image_scores(self) -> Array:
        return np.concatenate(self._image_scores)

    @property
    def map_maxima(self) -> Array:
        return np.concatenate(self._map_maxima)

    @property
    def map_levels(self) -> Array:
        return np.concatenate(self._map_levels)

    @property
    def odd(self) -> OddPatches | None:
        return OddPatches.joined(self._odd) if self._odd else None


def distance_histogram(distances: Array) -> Array:
    """Histogram of distances, any shape, in the bins calibrations add up."""
    inside = np.clip(distances.ravel(), _EDGES[0], _EDGES[-1])
    return np.histogram(inside, _EDGES)[0].astype(np.float64)


def logarithms_of(distances: Array) -> Array:
    """Natural logarithms of distances, any shape, of which none is 0."""
    return np.log(np.maximum(distances, 1e-12))


def _location(values: Array, usual_spread: float) -> tuple[float, float]:
    """Mean and standard deviation, the latter the posterior's under a scaled inverse chi-square prior."""
    mean = float(values.mean())
    squares = float(((values - mean) ** 2).sum()) + _PRIOR_FREEDOM * usual_spread**2
    return mean, math.sqrt(squares / (len(values) - 1 + _PRIOR_FREEDOM))


def _upper_bound(ordered: Array, rate: float, usual_spread: float) -> float:
    """Value that a new draw exceeds with probability ≤ rate, from n ordered draws.

    With n ≥ 1/rate − 1 draws it is their ⌈(n + 1)(1 − rate)⌉-th smallest, whatever the distribution.
    With fewer there is no such bound: then the limit of the posterior predictive (Student's t) for normal
    values, raised towards the largest draw where that lies above it: the more, the nearer n is to the number
    at which that draw is the bound. With 25 draws one outlier says little of the tail, and a threshold at it
    would let defects pass (docs/trials.md).
    """
    n = len(ordered)
    rank = math.ceil((n + 1) * (1 - rate) - 1e-9)
    if rank <= n:
        return float(ordered[rank - 1])
    from scipy.special import stdtrit  # of scipy.stats, whose import takes most of a second, t.ppf is this

    center, spread = _location(ordered, usual_spread)
    quantile = float(stdtrit(n - 1 + _PRIOR_FREEDOM, 1 - rate))
    limit = center + spread * math.sqrt(1 + 1 / n) * quantile
    return limit + (n / images_needed(rate)) ** 2 * max(float(ordered[-1]) - limit, 0.0)
