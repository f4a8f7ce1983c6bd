"""Image metrics of scores and labels, with bootstrap confidence intervals.

Labels are True for defective images; higher scores are more anomalous. A metric needs good and defective
images and finite scores; without them it is None with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anomalyvfm.metrics.sweep import FloatArray, Sweep, f1_score


@dataclass(frozen=True)
class Metric:
    """One number of a report.

    Attributes:
        value: the metric, or None where the data does not define it.
        reason: why `value` is None.
        bound: the largest possible distance between `value` and the exact metric of the same scores;
            0 where it was computed exactly.
        interval: bootstrap confidence interval (low, high), or None where there is none.
    """

    value: float | None
    reason: str | None = None
    bound: float = 0.0
    interval: tuple[float, float] | None = None


def undefined(reason: str) -> Metric:
    """The metric that the data does not define."""
    return Metric(None, reason)


_CHUNK = 2_000_000  # draws held at once while resampling: 16 MB


def auroc(scores: ArrayLike, labels: ArrayLike) -> Metric:
    """Area under the ROC curve of scores (N,) and labels (N,); equal scores count one half."""
    values, truth = _checked(scores, labels)
    if reason := _undefined_because(values, truth):
        return undefined(reason)
    return Metric(float(sweep(values, truth).auroc()))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> Metric:
    """Average precision of scores (N,) and labels (N,), without interpolation."""
    values, truth = _checked(scores, labels)
    if reason := _undefined_because(values, truth):
        return undefined(reason)
    return Metric(float(sweep(values, truth).average_precision()))


def best_f1(scores: ArrayLike, labels: ArrayLike) -> tuple[Metric, float | None]:
    """The best F1 any one threshold reaches, and the highest such threshold (`score >= threshold`)."""
    values, truth = _checked(scores, labels)
    if reason := _undefined_because(values, truth):
        return undefined(reason), None
    swept = sweep(values, truth)
    at = swept.best_threshold()
    return Metric(float(swept.f1()[at])), float(swept.thresholds[at])


def decision_metrics(decisions: ArrayLike, labels: ArrayLike) -> dict[str, Metric]:
    """What verdicts (N,) are worth: `class_f1`, `false_alarm_rate` (good), `detection_rate` (defective)."""
    found, truth = _checked(decisions, labels)
    values = _decision_values(np.ones((1, len(truth)), np.int64), found.astype(bool), truth)
    needs = {"class_f1": (True, False), "false_alarm_rate": (False,), "detection_rate": (True,)}
    return {
        name: undefined(reason) if (reason := _lacking(truth, needs[name])) else Metric(float(value[0]))
        for name, value in values.items()
    }


def image_metrics(
    scores: ArrayLike,
    labels: ArrayLike,
    decisions: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Metric]:
    """Every image metric with its bootstrap interval.

    Args:
        scores: (N,) anomaly scores.
        labels: (N,) True for defective images.
        decisions: (N,) True where the image was called anomalous.
        resamples: how often the images are drawn anew; 0 for no intervals.
        seed: of the draws.
        level: share of resamples inside an interval.

    Returns:
        `image_auroc`, `image_ap`, `image_f1` (best threshold), `class_f1` (the decisions' F1),
        `false_alarm_rate` (share of good images called anomalous) and `detection_rate` (of defective ones).

    The interval is the percentile bootstrap (Efron and Tibshirani 1993, ch. 13), good and defective images
    drawn separately: how many there are of each was the test set's choice, not chance. A single image of a
    kind says nothing of its spread, so there is then no interval.
    """
    values, truth = _checked(scores, labels)
    found = _checked(decisions, labels)[0].astype(bool)
    metrics = {
        "image_auroc": auroc(values, truth),
        "image_ap": average_precision(values, truth),
        "image_f1": best_f1(values, truth)[0],
        **decision_metrics(found, truth),
    }
    if not resamples or not len(truth) or 1 in (truth.sum(), (~truth).sum()):
        return metrics
    tails = [(1 - level) / 2, (1 + level) / 2]
    for name, values_drawn in resampled(values, truth, found, resamples, seed).items():
        if metrics[name].value is not None:
            low, high = np.quantile(values_drawn, tails)
            metrics[name] = replace(metrics[name], interval=(float(low), float(high)))
    return metrics


def resampled(
    scores: FloatArray, labels: NDArray[np.bool_], decisions: NDArray[np.bool_], resamples: int, seed: int
) -> dict[str, FloatArray]:
    """(R,) each of `image_metrics` in every resample; a seed draws the same images whatever the scores.

    Those of scores are missing where these define none; those of decisions mean nothing where a label is
    missing.
    """
    ranked = _undefined_because(scores, labels) is None
    samples: dict[str, list[FloatArray]] = {}
    for drawn in _drawn(labels, resamples, seed):
        values = _decision_values(drawn, decisions, labels)
        if ranked:
            swept = sweep(scores, labels, drawn)
            values["image_auroc"] = swept.auroc()
            values["image_ap"] = swept.average_precision()
            values["image_f1"] = swept.f1().max(axis=-1)
        for name, value in values.items():
            samples.setdefault(name, []).append(value)
    return {name: np.concatenate(parts) for name, parts in samples.items()}


def sweep(scores: FloatArray, labels: NDArray[np.bool_], drawn: NDArray[np.int64] | None = None) -> Sweep:
    """Counts at every distinct score of finite scores (N,), highest first.

    `drawn` (B, N) says how often each image counts; the counts then have the shape (B, T).
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    counts = np.ones(len(scores), np.int64) if drawn is None else drawn[:, order]
    bad = labels[order]
    tp = np.cumsum(counts * bad, axis=-1)[..., ends]
    fp = np.cumsum(counts * ~bad, axis=-1)[..., ends]
    return Sweep(ranked[ends], tp, fp)


def _checked(values: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, NDArray[np.bool_]]:
    numbers, truth = np.asarray(values, np.float64), np.asarray(labels, bool)
    if numbers.shape != truth.shape or numbers.ndim != 1:
        raise ValueError(f"values of shape {numbers.shape} for labels of shape {truth.shape}")
    return numbers, truth


def _lacking(labels: NDArray[np.bool_], needed: tuple[bool, ...]) -> str | None:
    if not len(labels):
        return "no images"
    for label in needed:
        if not (labels == label).any():
            return "no defective images" if label else "no good images"
    return None


def _undefined_because(scores: FloatArray, labels: NDArray[np.bool_]) -> str | None:
    if wrong := int((~np.isfinite(scores)).sum()):
        return f"{wrong} of {len(scores)} image scores are NaN or infinite"
    if reason := _lacking(labels, (True, False)):
        return reason
    return "all image scores are equal" if scores.min() == scores.max() else None


def _drawn(labels: NDArray[np.bool_], resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Bootstrap draws in chunks of (B, N): how often each image was drawn, good and bad separately."""
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // len(labels))
    for start in range(0, resamples, chunk):
        drawn = np.zeros((min(chunk, resamples - start), len(labels)), np.int64)
        for label in (False, True):
            members = np.flatnonzero(labels == label)
            if len(members):
                even = np.full(len(members), 1 / len(members))
                drawn[:, members] = rng.multinomial(len(members), even, size=len(drawn))
        yield drawn


def _decision_values(
    drawn: NDArray[np.int64], found: NDArray[np.bool_], labels: NDArray[np.bool_]
) -> dict[str, Any]:
    """Metrics of decisions (N,) for each row of draws (B, N); meaningless where a class is missing."""
    tp, fp = drawn @ (found & labels), drawn @ (found & ~labels)
    bad, good = drawn @ labels, drawn @ ~labels
    return {
        "class_f1": f1_score(tp, fp, np.maximum(bad, 1)),
        "false_alarm_rate": fp / np.maximum(good, 1),
        "detection_rate": tp / np.maximum(bad, 1),
    }
