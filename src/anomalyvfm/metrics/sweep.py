"""A falling threshold's counts, and the areas and scores that follow from them.

Images and pixels share these formulas: only the way to the counts differs. Everything works on the last
axis, so one call serves a single data set (T,) and a thousand resamples of it (B, T) alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Sweep:
    """Detections while the threshold falls past every score; a score detects when `score >= threshold`.

    Attributes:
        thresholds: (T,), not increasing.
        tp: (..., T) defects at or above each threshold; the last entry holds all defects.
        fp: (..., T) defect-free items at or above each threshold; the last entry holds all of them.
    """

    thresholds: FloatArray
    tp: NDArray[Any]
    fp: NDArray[Any]

    def auroc(self) -> FloatArray:
        """Area under the ROC curve, shape (...). Equal scores count one half: the Mann-Whitney statistic."""
        auroc: FloatArray = area(self.fp, self.tp) / self.fp[..., -1] / self.tp[..., -1]
        return auroc

    def average_precision(self) -> FloatArray:
        """Sum over thresholds of precision times the recall gained there (no interpolation), shape (...)."""
        gained = np.diff(self.tp, axis=-1, prepend=0)
        total: FloatArray = (gained * self.precision()).sum(axis=-1) / self.tp[..., -1]
        return total

    def precision(self) -> FloatArray:
        """Precision at each threshold, (..., T); 1 where nothing is detected."""
        detected = self.tp + self.fp
        precision: FloatArray = np.where(detected > 0, self.tp / np.maximum(detected, 1), 1.0)
        return precision

    def f1(self) -> FloatArray:
        """F1 at each threshold, (..., T)."""
        f1: FloatArray = f1_score(self.tp, self.fp, self.tp[..., -1:])
        return f1

    def best_threshold(self) -> int:
        """Index of the highest threshold with the best F1. One data set only."""
        return int(np.argmax(self.f1()))

    def roc(self) -> tuple[FloatArray, FloatArray]:
        """False-positive and true-positive rates, each (T + 1,), from (0, 0) to (1, 1)."""
        return from_origin(self.fp / self.fp[-1]), from_origin(self.tp / self.tp[-1])

    def precision_recall(self) -> tuple[FloatArray, FloatArray]:
        """Recall and precision, each (T,), recall rising to 1."""
        return self.tp / self.tp[-1], self.precision()


def f1_score(tp: Any, fp: Any, positives: Any) -> Any:
    """2 TP / (2 TP + FP + FN), for numbers or arrays; `positives` are TP + FN and must not be 0."""
    return 2 * tp / (tp + fp + positives)


def from_origin(values: NDArray[Any]) -> FloatArray:
    """A curve's coordinates (T,) with the 0 it starts from put in front."""
    return np.concatenate([[0.0], values])


def area(x: NDArray[Any], y: NDArray[Any]) -> FloatArray:
    """Area under the straight lines from (0, 0) through the points (x, y), shape (...); x must not fall."""
    dx = np.diff(x, axis=-1, prepend=0).astype(np.float64)
    total: FloatArray = (dx * (y - 0.5 * np.diff(y, axis=-1, prepend=0))).sum(axis=-1)
    return total


def area_up_to(limit: float, x: NDArray[Any], y: NDArray[Any]) -> float:
    """Area under the curve of `area` for x from 0 to `limit`, the last piece interpolated linearly.

    One curve only: x and y have shape (T,), and x reaches `limit`.
    """
    inside = int(np.searchsorted(x, limit, side="right"))
    x0, y0 = (x[inside - 1], y[inside - 1]) if inside else (0.0, 0.0)
    y_end = y0
    if inside < len(x):
        y_end = y0 + (y[inside] - y0) * (limit - x0) / (x[inside] - x0)
    return float(area(x[:inside], y[:inside]) + (limit - x0) * (y0 + y_end) / 2)
