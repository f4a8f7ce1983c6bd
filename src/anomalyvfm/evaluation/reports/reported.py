"""Results reported for the v1 pipelines on MVTec AD 2, to print beside measured ones, never instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SOURCE = "reported, not measured"

CATEGORY_AUROC = {
    "fruit_jelly": 0.6492,
    "fabric": 0.6520,
    "can": 0.5528,
    "sheet_metal": 0.3653,
    "vial": 0.6971,
    "wallplugs": 0.4372,
    "walnuts": 0.5844,
}
"""Image AUROC by category; rice was left out of the reports."""

AVERAGE_AUROC = {"v1.1": 0.5626, "v1.2": 0.5530, "v1.3": 0.5310, "v1.4": 0.5532, "frozen features": 0.5539}
"""Mean image AUROC of the seven categories by pipeline; the last without adaptation."""

CATEGORY_AUPRO = {"fruit_jelly": 0.7806}


@dataclass(frozen=True)
class Comparison:
    """A reported number and the measured one beside it, if this run has it."""

    metric: str
    reported: float
    measured: float | None


CAVEAT = "Reported for MVTec's own images and the v1 pipelines; data of another make does not compare."


def compare_with_reported(layout: str, category: str, metrics: Mapping[str, Any]) -> list[Comparison]:
    """What was reported for a category beside ``metrics`` as in metrics.json; none for other data.

    The reports do not say up to which false-positive rate their AU-PRO goes; 0.30 is what papers of that
    kind use.
    """
    if layout != "mvtec_ad2" or category not in CATEGORY_AUROC:
        return []
    rows = [Comparison("image_auroc", CATEGORY_AUROC[category], metrics.get("image_auroc"))]
    if category in CATEGORY_AUPRO:
        rows.append(Comparison("aupro_0.30", CATEGORY_AUPRO[category], metrics.get("aupro_0.30")))
    return rows
