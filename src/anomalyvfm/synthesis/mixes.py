"""How many synthetic defects of each stage a pipeline trains on, by version and category group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from anomalyvfm.errors import InputError
from anomalyvfm.synthesis.structural import KINDS as STRUCTURES
from anomalyvfm.synthesis.texture import KINDS as TEXTURES

Group = Literal["high-texture", "high-performance", "medium"]
Stage = Literal["texture", "structural", "contextual"]

STAGES: tuple[Stage, ...] = ("texture", "structural", "contextual")
TOTAL = 90
"""Synthetic images per category, whatever the version."""


@dataclass(frozen=True)
class Mix:
    """Shares of the stages, in the order of `STAGES` (any unit), and the kinds two of them draw from."""

    shares: tuple[float, float, float]
    textures: tuple[str, ...] = TEXTURES[:1]
    structures: tuple[str, ...] = STRUCTURES[:3]

    def without(self, stage: Stage) -> Mix:
        """The mix with one stage left out and the others in proportion, as an ablation asks for."""
        texture_share, structural_share, contextual_share = (
            0.0 if name == stage else share for name, share in zip(STAGES, self.shares, strict=True)
        )
        return Mix((texture_share, structural_share, contextual_share), self.textures, self.structures)

    def counts(self, total: int = TOTAL) -> dict[Stage, int]:
        """Whole numbers in proportion to the shares that add up to `total` (largest remainders)."""
        exact = np.array(self.shares) * total / sum(self.shares)
        whole = np.floor(exact + 1e-9).astype(int)
        largest = np.argsort(whole - exact, kind="stable")[: total - int(whole.sum())]
        whole[largest] += 1
        return {stage: int(count) for stage, count in zip(STAGES, whole, strict=True)}


def _attentive(*shares: float) -> Mix:
    one, two, three = shares
    return Mix((one, two, three), TEXTURES, STRUCTURES)


_ALIKE = Mix((30, 30, 30))

MIXES: Mapping[str, Mapping[Group, tuple[Mix, ...]]] = MappingProxyType(
    {
        "v1.1": {"high-texture": (_ALIKE,), "high-performance": (_ALIKE,), "medium": (_ALIKE,)},
        "v1.2": {
            "high-texture": (Mix((40, 25, 25)),),
            "high-performance": (Mix((20, 35, 35)),),
            "medium": (_ALIKE,),
        },
        # One mix for each scale at which v1.3 sees an image, in the order of `SCALES`.
        "v1.3": dict.fromkeys(
            ("high-texture", "high-performance", "medium"),
            (Mix((20, 50, 30)), Mix((40, 30, 30)), Mix((50, 20, 30))),
        ),
        "v1.4": {
            "high-texture": (_attentive(50, 30, 20),),
            "high-performance": (_attentive(20, 50, 30),),
            "medium": (_attentive(40, 30, 30),),
        },
    }
)
"""Version → category group → mixes that share the total equally."""

SCALES = (128, 256, 512)
"""Sides in pixels at which v1.3 sees an image."""


def mixes(version: str, group: Group = "medium") -> tuple[Mix, ...]:
    """The mixes of a version for a category group. Raises InputError for an unknown version."""
    if version not in MIXES:
        raise InputError(f"{version!r} makes no synthetic defects; the versions that do: {', '.join(MIXES)}")
    return MIXES[version][group]


def shared_out(total: int, parts: int) -> list[int]:
    """`total` in `parts` whole numbers as equal as can be, the larger ones first."""
    return [total // parts + (part < total % parts) for part in range(parts)]
