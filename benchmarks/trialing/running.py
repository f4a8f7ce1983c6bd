"""A trial on all data: opinions judged, fused, and measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from anomalyvfm.data import InputFrame, read_mask, read_size
from anomalyvfm.data.generated import CATEGORIES, CONDITIONS
from anomalyvfm.metrics.pixel import PixelMetrics
from trialing.catalogue import TRIALS, Trial
from trialing.cost import maps_of, passes
from trialing.material import ELPV, material
from trialing.opinions import Case, CellGaussian, Judgement

Doubles = NDArray[np.float64]
GROUPS = ("mt", *ELPV, "generated")
_CANVAS = InputFrame(256, 256)
_BINS = 1 << 18


def run_trial(
    name: str, groups: Iterable[str], seeds: int, magnetic_tile: Path, cache: Path
) -> dict[str, Any]:
    """The trial's row: every seed's image AUROC by data set, AU-PRO where there are maps, and the cost."""
    trial = TRIALS[name]
    row: dict[str, Any] = {"trial": name, "about": trial.about, "seeds": seeds}
    for group in groups:
        # The eight generated categories differ more than their seeds: one seed each.
        members = CATEGORIES if group == "generated" else (group,)
        for member in members:
            found = material(member, magnetic_tile, cache)
            count = 1 if group == "generated" else seeds
            cases = [Case(found, seed, cache) for seed in range(count)]
            row[member] = [image_auroc(case, trial, "regular") for case in cases]
            if group == "generated":
                others = [condition for condition in CONDITIONS if condition != "regular"]
                row[f"{member} other light"] = [
                    float(np.mean([image_auroc(cases[0], trial, condition) for condition in others]))
                ]
            if member == "mt":
                if trial.map is not None:
                    row["aupro"] = [aupro(case, case.judge(trial.map)) for case in cases]
                asked = [cases[0].judge(opinion) for opinion in maps_of(trial)]
                row["model_mb"] = round(sum(judged.megabytes for judged in asked), 1)
                plain = cases[0].judge(CellGaussian()).seconds
                row["scorer"] = round(sum(judged.seconds for judged in asked) / plain, 2)
    row["passes"] = passes(trial)
    return row


def image_auroc(case: Case, trial: Trial, condition: str) -> float:
    """Of weighted standard scores of the opinions' logarithms, added up.

    Logarithms, because distances are positive and skewed; mean and spread are those of held-out good images.
    """
    scores = np.zeros(len(case.tested))
    for opinion, weight in trial.opinions:
        judged = case.judge(opinion)
        good, tested = (
            np.log(np.maximum(side.astype(np.float64), 1e-12)) for side in (judged.held_out, judged.tested)
        )
        scores += weight * (tested - good.mean()) / good.std()
    shown = case.material.condition[case.tested] == condition
    return auroc(case.material.label[case.tested][shown], scores[shown])


def auroc(label: NDArray[Any], scores: Doubles) -> float:
    """The share of pairs in which the bad image scores above the good; ties count half."""
    ranks = rankdata(scores)
    bad = int(label.sum())
    good = len(label) - bad
    return float((ranks[label == 1].sum() - bad * (bad + 1) / 2) / (bad * good))


def aupro(case: Case, maps: Judgement) -> tuple[float, float]:
    """AU-PRO to a false-positive rate of 0.30 and of 0.05, at each image's own resolution."""
    pixels = PixelMetrics(max_bins=_BINS)
    for number, map_ in zip(case.tested, maps.tested, strict=True):
        path, mask = case.material.paths[number], case.material.masks[number]
        whole = _CANVAS.restore(np.sqrt(map_), read_size(path))
        bad = bool(case.material.label[number])
        pixels.add(whole, None if mask is None else read_mask(mask), anomalous=bad)
    return tuple(_values(pixels))  # type: ignore[return-value]


def _values(pixels: PixelMetrics) -> Iterator[float]:
    for limit in (0.30, 0.05):
        value = pixels.aupro(limit).value
        assert value is not None
        yield value
