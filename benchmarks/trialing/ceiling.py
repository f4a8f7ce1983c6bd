"""What labels would buy: a linear probe on the same features, trained with the defects of the data itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trialing.material import material
from trialing.opinions import Case, moments_of
from trialing.running import auroc


def probe(name: str, magnetic_tile: Path, cache: Path) -> dict[str, float]:
    """Image AUROC on seed 0's test images by inverse regularisation, 5-fold over all labelled images.

    Not a bound in the strict sense, another model may do better; and where several photographs show one part,
    as in magnetic_tile, folds share parts, which flatters the probe.
    """
    found = material(name, magnetic_tile, cache)
    case = Case(found, 0, cache)
    summary = moments_of(case.features("lite0-global-256"), (4, 5, 6)).numpy()
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    result = {}
    for strength in (0.001, 0.003, 0.01, 0.03):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))
        scores = cross_val_predict(model, summary, found.label, cv=folds, method="decision_function")
        result[f"C={strength}"] = auroc(found.label[case.tested], np.asarray(scores)[case.tested])
    return result
