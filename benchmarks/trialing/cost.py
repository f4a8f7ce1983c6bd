"""What a trial costs: backbone passes, scorer time, memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trialing.catalogue import Trial
from trialing.features import Variant
from trialing.opinions import CellGaussian, Opinion, Pooled

# Seconds of one thread for an image of 256 px, over those of lite0 to stage 5 (20 ms), by deepest stage.
_DEPTH = {
    "lite0": {5: 1.0, 6: 1.1, 7: 1.4},
    "lite1": {5: 1.15, 6: 1.55, 7: 1.7},
    "lite2": {5: 1.35, 6: 1.6, 7: 1.7},
}


def passes(trial: Trial) -> float:
    """Backbone time an image, in passes of lite0 to stage 5 at 256 px."""
    deepest: dict[str, int] = {}
    for variant, stage in _needs(opinion for opinion, _ in trial.opinions):
        deepest[variant] = max(stage, deepest.get(variant, 5))
    total = 0.0
    for name, stage in deepest.items():
        way = Variant.of(name)
        total += _DEPTH[way.backbone][stage] * (way.side / 256) ** 2
    return round(total, 2)


def maps_of(trial: Trial) -> list[Opinion]:
    """The opinions that learn something, each once: a map pooled in two ways is learned once."""
    opinions = [opinion for opinion, _ in trial.opinions] + ([trial.map] if trial.map else [])
    return list(dict.fromkeys(o.map if isinstance(o, Pooled) else o for o in opinions))


def _needs(opinions: Iterable[Opinion]) -> Iterable[tuple[str, int]]:
    for opinion in opinions:
        inner: Any = opinion.map if isinstance(opinion, Pooled) else opinion
        variants = inner.variants if hasattr(inner, "variants") else (inner.variant,)
        stages = inner.stages if hasattr(inner, "stages") else (inner.stage,)
        known = inner.known if isinstance(inner, CellGaussian) and inner.factors else ()
        yield from ((variant, max((*stages, *known))) for variant in variants)
