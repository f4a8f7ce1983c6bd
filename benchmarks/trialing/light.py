"""Good images learned under another light as well: does light then look less like a defect?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from anomalyvfm.data import InputFrame, read_image
from anomalyvfm.data.generated import CONDITIONS
from anomalyvfm.features.illumination import augment_light
from anomalyvfm.statistical.gaussian import Gaussian
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics
from trialing.features import Features, Variant, kept
from trialing.opinions import Case, cells_of, top_mean
from trialing.running import Doubles, auroc

_VARIANT, _STAGES, _PRIOR = "lite0-global-256", (4, 5), 20.0
_SHARES, _WEIGHTS = (0.25, 1.0), (0.03, 0.1, 0.3)


def light(case: Case) -> Iterator[tuple[str, dict[str, float]]]:
    """By what is done with the relit copies: image AUROC in regular and in other light, and over all images.

    The scatter of differences between the features of an image and of its relit copy is added to that of the
    good images, ``weight`` times; with a share of the images alone relit, that much heavier. Or relit copies
    are learned like any good image.
    """
    found = case.features(_VARIANT)
    learned, tested = (cells_of(found, _STAGES, rows) for rows in (case.learned, case.tested))
    n = len(case.learned)
    relit = cells_of(_relit(case), _STAGES, np.arange(n))
    plain = SufficientStatistics(len(learned), learned.shape[2])
    plain.add(learned)

    def measured(statistics: SufficientStatistics, light_weight: float = 0.0) -> dict[str, float]:
        distances = Gaussian(statistics, _PRIOR, light_weight=light_weight).distance(tested)
        return _aurocs(case, top_mean(distances.T.numpy()).astype(np.float64))

    yield "nothing relit", measured(plain)
    order = np.random.default_rng(1).permutation(n)
    for share in _SHARES:
        rows = torch.from_numpy(np.sort(order[: int(share * n)]))
        statistics = plain.copy()
        statistics.add_light(relit[:, rows] - learned[:, rows])
        for weight in _WEIGHTS:
            yield f"{100 * share:.0f} % relit, weight {weight}", measured(statistics, weight / share)
        both = plain.copy()
        both.add(relit[:, rows])
        yield f"{100 * share:.0f} % relit, learned like any", measured(both)


def _relit(case: Case) -> Features:
    """Of every learned image one copy in another light."""
    way = Variant.of(_VARIANT)
    frame = InputFrame(way.side, way.side, "stretch")
    found = case.material
    images = (
        way.dress(augment_light(frame.place(read_image(found.paths[i])), np.random.default_rng(i)))
        for i in case.learned
    )
    folder = case.cache / found.name / f"{_VARIANT}-relit-{case.seed}"
    return kept(folder, images, len(case.learned), way.backbone)


def _aurocs(case: Case, scores: Doubles) -> dict[str, float]:
    label, condition = case.material.label[case.tested], case.material.condition[case.tested]
    by_light = {
        light: auroc(label[condition == light], scores[condition == light])
        for light in CONDITIONS
        if light in condition
    }
    if len(by_light) == 1:
        return {"AUROC": by_light["regular"]}
    others = [value for light, value in by_light.items() if light != "regular"]
    return {
        "AUROC": by_light["regular"],
        "other light": float(np.mean(others)),
        "all light": auroc(label, scores),
    }
