"""How much the covariance of all cells weighs in each one's, and whether good images alone can tell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from anomalyvfm.statistical.gaussian import Gaussian
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics
from trialing.opinions import Case, cells_of, top_mean
from trialing.running import auroc

_VARIANT, _STAGES = "lite0-global-256", (4, 5)
_PRIORS = (5.0, 20.0, 80.0, 320.0, 1280.0)
_HELD_OUT, _COVERED = 0.2, 0.3


def prior(case: Case) -> Iterator[tuple[str, dict[str, float]]]:
    """By the prior's weight in images: log-likelihood of held-out good cells in nats a dimension, and AUROC.

    The likelihood is that of a fifth of the good images by the other four; AUROC, of images and where there
    are masks of cells, is with all learned. The likeliest weight needs no label, the best by labels does.
    """
    found, material = case.features(_VARIANT), case.material
    tested = case.tested[material.condition[case.tested] == "regular"]
    learned, judged = (cells_of(found, _STAGES, rows) for rows in (case.learned, tested))
    order = np.random.default_rng(0).permutation(len(case.learned))
    count = int(_HELD_OUT * len(order))
    held_out, rest = learned[:, order[:count]], learned[:, order[count:]]
    label = material.label[tested]
    defect = _defect_cells(case, tested, round(len(learned) ** 0.5))

    def measured(
        learned: Tensor, prior: float, held_out: Tensor, rest: Tensor, judged: Tensor
    ) -> dict[str, float]:
        likelihood = _likelihood(_fitted(rest, prior), held_out)
        cells = _fitted(learned, prior).distance(judged).reshape(-1, len(tested)).T.numpy()
        values = {"AUROC": auroc(label, top_mean(cells).astype(np.float64)), "likelihood": likelihood}
        if defect is not None:
            values["AUROC of cells"] = auroc(defect, cells.ravel().astype(np.float64))
        return values

    by_prior = {f"prior of {k:g} images": measured(learned, k, held_out, rest, judged) for k in _PRIORS}
    yield from by_prior.items()
    yield "the likeliest of these", max(by_prior.values(), key=lambda values: values["likelihood"])
    yield "the best of these by labels", max(by_prior.values(), key=lambda values: values["AUROC"])
    # All vectors of all cells as those of a single one.
    single = [x.reshape(1, -1, x.shape[2]) for x in (held_out, rest, judged)]
    yield "one Gaussian for all cells", measured(learned.reshape(1, -1, learned.shape[2]), 0.0, *single)


def _fitted(vectors: Tensor, prior: float) -> Gaussian:
    statistics = SufficientStatistics(len(vectors), vectors.shape[2])
    statistics.add(vectors)
    return Gaussian(statistics, prior)


def _likelihood(gaussian: Gaussian, vectors: Tensor) -> float:
    """Mean logarithm of the density of (P, N, D) vectors over D, less that of the constant 2π."""
    return float(gaussian.log_density(gaussian.distance(vectors)).mean())


def _defect_cells(case: Case, rows: NDArray[np.int64], side: int) -> NDArray[np.int64] | None:
    """Which cells a defect covers by more than a given share, image after image; None without masks."""
    material = case.material
    covered = np.zeros((len(rows), side, side))
    for place, row in enumerate(rows):
        mask = material.masks[row]
        if mask is not None and material.label[row]:
            with Image.open(mask) as image:
                covered[place] = (
                    np.asarray(image.convert("L").resize((side, side), Image.Resampling.BOX)) / 255
                )
    return (covered.ravel() > _COVERED).astype(np.int64) if covered.any() else None
