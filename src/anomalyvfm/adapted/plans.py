"""What each version trains: the form of its adapter, rank, alpha and epochs, by category group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from anomalyvfm.adapted.adapters import Form
from anomalyvfm.synthesis.mixes import Group


@dataclass(frozen=True)
class Plan:
    """An adapter's form, the rank and alpha of its low-rank layers, and how many epochs it is trained."""

    form: Form
    rank: int = 16
    alpha: float = 32.0
    epochs: int = 10


def _everywhere(plan: Plan) -> Mapping[Group, Plan]:
    return {"high-texture": plan, "high-performance": plan, "medium": plan}


PLANS: Mapping[str, Mapping[Group, Plan]] = MappingProxyType(
    {
        "v1.1": _everywhere(Plan("chain")),
        "v1.2": {
            "high-texture": Plan("chain", rank=32, alpha=64.0, epochs=12),
            "high-performance": Plan("chain", rank=8, alpha=16.0, epochs=6),
            "medium": Plan("chain"),
        },
        "v1.3": _everywhere(Plan("multiscale")),
        "v1.4": _everywhere(Plan("gated")),
    }
)
"""Version → category group → plan."""
