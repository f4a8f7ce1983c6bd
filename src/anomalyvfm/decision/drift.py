"""Do today's good images still score like those the model was calibrated with? A test that never ends.

Conformal test with restarts: V. Vovk, I. Nouretdinov & A. Gammerman (2003), "Testing exchangeability
on-line"; D. Volkhonskiy et al. (2017), "Inductive conformal martingales for change-point detection".
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.errors import InputError

VERSION = 1

# Bounds the memory. A rank among many scores is then known to 1/128, far finer than any shift sought.
_MOST_BINS = 128
# What the bets assume scores have moved by, in standard deviations: half of one is the least that matters
# to the false-alarm rate, the larger finds a sudden change sooner. On normal scores these take a fifth to
# a third fewer images until the alarm than bets that are powers of p.
_SHIFTS = (0.5, 1.2, -0.5, -1.2)
# Factors for an anomalous and for any other image: even where half of the images are anomalous, and a loss
# in the long run where fewer are.
_IF_ANOMALOUS, _IF_NOT = 1.5, 0.5
# Years of drift stay a number. A smaller statistic alarms no sooner.
_LARGEST = 1e300
_NORMAL = NormalDist()

_KINDS = {
    "risen": "good images score higher than before",
    "fallen": "good images score lower than before",
    "mostly anomalous": "more than half of the images are anomalous",
}


class RunningRanks:
    """Ranks of scores among n first ones and all that were ranked before, as p-values.

    While all scores are exchangeable, p-values are independent and exactly uniform, whatever the
    distribution and however small n: the n scores leave n + 1 gaps, a new score is as likely to fall into
    any of them, and from then on counts as one more gap in its place (an urn of Pólya). Neighbouring gaps
    share a bin, at most 128 in all, so memory does not grow; a place inside a bin, and an order of equal
    scores, is drawn at random. Where the first scores only set the bins and are not ``counted``, a rank is
    among the new scores alone.
    """

    def __init__(self, first: Sequence[float], seed: int, counted: bool = True) -> None:
        """``first`` (n,), n ≥ 1."""
        self._random = np.random.default_rng(seed)
        ordered = sorted(zip(first, self._random.random(len(first)).tolist(), strict=True))
        gaps = len(ordered) + 1
        bins = min(gaps, _MOST_BINS)
        ranks = [round(number * gaps / bins) for number in range(bins + 1)]
        self._edges = [ordered[rank - 1] for rank in ranks[1:-1]]
        self._first = [(after - before) * counted for before, after in pairwise(ranks)]
        self._counts = list(self._first)

    def add(self, score: float) -> float:
        """P-value in (0, 1), small for a score above most others, which then counts as one of them."""
        tie, within = float(self._random.random()), float(self._random.random())
        place = bisect_left(self._edges, (score, tie))
        # A gap that the score falls into has been there; among new scores alone, it is one more of them.
        if not any(self._first):
            self._counts[place] += 1
            p = self._drawn(place, within)
        else:
            p = self._drawn(place, within)
            self._counts[place] += 1
        return min(max(p, 1e-12), 1 - 1e-12)

    def _drawn(self, place: int, within: float) -> float:
        return (sum(self._counts[place + 1 :]) + within * self._counts[place]) / sum(self._counts)

    def forget(self) -> None:
        """Keep the first scores alone, or none where they do not count."""
        self._counts = list(self._first)

    def as_dict(self) -> dict[str, Any]:
        return {
            "edges": [list(edge) for edge in self._edges],
            "first": list(self._first),
            "counts": list(self._counts),
            "random": self._random.bit_generator.state,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> RunningRanks:
        self = cls.__new__(cls)
        self._edges = [(float(score), float(drawn)) for score, drawn in state["edges"]]
        self._first = [int(count) for count in state["first"]]
        self._counts = [int(count) for count in state["counts"]]
        if not len(self._edges) + 1 == len(self._first) == len(self._counts) or min(self._counts) < any(
            self._first
        ):
            raise ValueError("edges and counts of the ranks do not match")
        self._random = np.random.default_rng(0)
        self._random.bit_generator.state = state["random"]
        return self


class DriftTest:
    """Takes scores one by one and raises an alarm when they no longer follow the calibration.

    Only images judged good are compared: a defect is no drift. Each becomes a p-value, its rank among the
    calibration scores and all compared before, so a calibration's own error is not taken for drift, as it
    would be in a long comparison with fixed scores. Five bets are made: that scores have risen or fallen,
    by 0.5 or by 1.2 standard deviations, and that most images are anomalous, which would leave little to
    compare. A bet turns an image into a factor b whose mean is at most 1 while nothing has changed. The
    evidence is the average over the bets of Shiryaev-Roberts statistics R ← (1 + R)·b; R less the number of
    images is a supermartingale from 0, so until R reaches ``images_between_false_alarms`` at least as many
    images pass on average (M. Pollak, 1987, "Average run lengths of an optimal method of detecting a change
    in distribution").

    Parameters
    ----------
    calibration_scores : (n,) scores of good images; at least 2 must not exceed the threshold
    threshold : an image that scores above it is anomalous
    images_between_false_alarms : the least expected number of images until an alarm while nothing has
        changed: days times images a day
    seed : of the draws that order equal scores
    among_themselves : compare images with earlier ones only, not with the calibration; for calibration
        scores that lie a little off those of new images, as cross-fitted ones do, which is no drift. What
        was different from the first image on is then not seen

    Attributes
    ----------
    images, compared, anomalous : how many were added, were ranked, and scored above the threshold
    alarm_at : number of the image, from 1, that raised the alarm, or None
    kind : "risen", "fallen" or "mostly anomalous": what raised it, or None
    """

    images: int
    compared: int
    anomalous: int
    alarm_at: int | None
    kind: str | None

    def __init__(
        self,
        calibration_scores: Sequence[float] | NDArray[np.float64],
        threshold: float,
        images_between_false_alarms: float,
        seed: int = 0,
        among_themselves: bool = False,
    ) -> None:
        """Raises InputError for less than one image between alarms, or too few scores to compare with."""
        if not 1 <= images_between_false_alarms < math.inf:
            raise InputError(
                f"{images_between_false_alarms:g} images between false alarms of drift;"
                " days times images a day must be 1 or more"
            )
        scores = np.asarray(calibration_scores, np.float64)
        # Given the largest of the scores that passed, those under it are distributed as later ones under it
        # are. That holds where the threshold is one of the scores, lies beyond them all, or is any number;
        # for "up to the threshold" it would not, as a threshold is made from these scores.
        passed = scores[scores <= threshold]
        under = passed[passed < passed.max()] if len(passed) else passed
        if not len(under):
            raise InputError(
                "drift cannot be tested: fewer than 2 calibration scores lie under the threshold;"
                " calibrate with more good images"
            )
        self.threshold = float(threshold)
        self.images_between_false_alarms = float(images_between_false_alarms)
        self._ceiling = float(passed.max())
        self._ranks = RunningRanks(under.tolist(), seed, counted=not among_themselves)
        self._begin()

    def add(self, score: float) -> bool:
        """Take in the next image's score; whether the alarm is on, by this image or an earlier one."""
        self.images += 1
        anomalous = score > self.threshold
        self.anomalous += anomalous
        self._bets[-1] = _grown(self._bets[-1], _IF_ANOMALOUS if anomalous else _IF_NOT)
        if score < self._ceiling:
            self.compared += 1
            p = self._ranks.add(score)
            for number, shift in enumerate(_SHIFTS):
                self._bets[number] = _grown(self._bets[number], shift_bet(p, shift))
        if self.alarm_at is None and self.evidence >= 1:
            self.alarm_at = self.images
            self.kind = self._strongest()
        return self.alarm_at is not None

    @property
    def evidence(self) -> float:
        """Share, from 0, of what raises the alarm; it falls back where images look as before again."""
        return sum(self._bets) / len(self._bets) / self.images_between_false_alarms

    def reset(self, false_alarm: bool = False) -> None:
        """Begin anew after an alarm: the images so far are forgotten, as when its cause was removed.

        With ``false_alarm`` they stay among the good ones to compare with. The promise then holds for the
        next alarm too; forgotten, a calibration that happens to be unusual would raise them more often.
        """
        if not false_alarm:
            self._ranks.forget()
        self._begin()

    def describe(self) -> str:
        """One line in plain words."""
        seen = f"{self.images} image{'s' * (self.images != 1)}, {self.compared} compared"
        if self.alarm_at is None or self.kind is None:
            return f"no drift in {seen} (evidence {self.evidence:.2g} of 1)"
        return f"drift at image {self.alarm_at}: {_KINDS[self.kind]} ({seen})"

    def summary(self) -> dict[str, Any]:
        """The outcome as plain data."""
        return {
            "alarm": self.alarm_at is not None,
            "alarm_at": self.alarm_at,
            "kind": self.kind,
            "evidence": float(f"{self.evidence:.4g}"),
            "images": self.images,
            "compared": self.compared,
            "anomalous": self.anomalous,
            "images_between_false_alarms": self.images_between_false_alarms,
        }

    def as_dict(self) -> dict[str, Any]:
        """All that :meth:`from_dict` needs to go on as if never interrupted, ready for JSON."""
        return {
            "version": VERSION,
            **self.summary(),
            "threshold": self.threshold,
            "ceiling": self._ceiling,
            "bets": list(self._bets),
            "ranks": self._ranks.as_dict(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> DriftTest:
        """The test that :meth:`as_dict` described. Raises InputError where it is no such description."""
        self = cls.__new__(cls)
        try:
            if state["version"] != VERSION:
                raise ValueError(f"version {state['version']}, known is {VERSION}")
            self.threshold = float(state["threshold"])
            self.images_between_false_alarms = float(state["images_between_false_alarms"])
            self._ceiling = float(state["ceiling"])
            self._ranks = RunningRanks.from_dict(state["ranks"])
            self._begin()
            self.images, self.compared = int(state["images"]), int(state["compared"])
            self.anomalous = int(state["anomalous"])
            if state["alarm_at"] is not None:
                self.alarm_at, self.kind = int(state["alarm_at"]), str(state["kind"])
            self._bets = [float(bet) for bet in state["bets"]]
            if len(self._bets) != len(_SHIFTS) + 1 or self.kind not in (None, *_KINDS):
                raise ValueError("bets of another test")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not the state of a drift test ({error}); begin a new one") from None
        return self

    def _begin(self) -> None:
        self.images = self.compared = self.anomalous = 0
        self.alarm_at = self.kind = None
        self._bets = [0.0] * (len(_SHIFTS) + 1)

    def _strongest(self) -> str:
        half = len(_SHIFTS) // 2
        risen, fallen, mostly = sum(self._bets[:half]), sum(self._bets[half:-1]), self._bets[-1]
        return max(zip((risen, fallen, mostly), _KINDS, strict=True))[1]


def shift_bet(p: float, shift: float) -> float:
    """What a bet on scores moved up by ``shift`` standard deviations pays at a p-value in (0, 1).

    The ratio of the moved normal density to the unmoved one, exp(shift·z − shift²/2) with z the upper
    normal quantile of p. Its integral over p is 1: on average it pays the stake.
    """
    return math.exp(-shift * float(_NORMAL.inv_cdf(p)) - shift * shift / 2)


def _grown(statistic: float, factor: float) -> float:
    return min((1 + statistic) * factor, _LARGEST)
