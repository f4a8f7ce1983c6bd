"""Choosing between recipes without a defect: does what separates synthetic defects separate real ones?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data import InputFrame, read_image
from anomalyvfm.synthesis import MIXES, orders, synthesize
from trialing.catalogue import TRIALS
from trialing.features import MAP_STAGES, MOMENT_STAGES, Variant, compute
from trialing.material import Material, material
from trialing.opinions import Case
from trialing.running import image_auroc

CANDIDATES = ("map-45", "plain+summary", "given+summary", "moments-456")
_VARIANT = "lite0-global-256"
_SYNTHETIC, _HELD_OUT = 40, 0.2


def choose(name: str, seed: int, magnetic_tile: Path, cache: Path) -> dict[str, dict[str, float]]:
    """Each candidate's image AUROC on synthetic defects and on real ones, with 80 % of the images learned.

    The synthetic defects are made on the other 20 %, which are also the good images they are told from.
    """
    real = material(name, magnetic_tile, cache)
    learned, _ = real.split(seed)
    held_out = np.sort(np.random.default_rng(seed).permutation(learned)[: int(_HELD_OUT * len(learned))])
    case = _synthetic_case(real, np.setdiff1d(learned, held_out), held_out, seed, cache)
    whole = Case(real, seed, cache)
    return {
        candidate: {
            "synthetic": image_auroc(case, TRIALS[candidate], "regular"),
            "real": image_auroc(whole, TRIALS[candidate], "regular"),
        }
        for candidate in CANDIDATES
    }


def agreement(found: Iterable[dict[str, dict[str, float]]]) -> tuple[float, float]:
    """Share of cases whose choice lies within 0.005 of the best by labels, and the mean loss of AUROC."""
    losses = []
    for values in found:
        chosen = max(values, key=lambda candidate: values[candidate]["synthetic"])
        best = max(value["real"] for value in values.values())
        losses.append(best - values[chosen]["real"])
    return float(np.mean(np.array(losses) <= 0.005)), float(np.mean(losses))


def _synthetic_case(
    real: Material, learned: NDArray[np.int64], held_out: NDArray[np.int64], seed: int, cache: Path
) -> Case:
    """A case of the learned, the held-out and synthetic defects on the held-out, its features on disk."""
    name = f"{real.name}-synthetic-{seed}"
    folder = cache / name / _VARIANT
    way = Variant.of(_VARIANT)
    if not (folder / "done").exists():
        frame = InputFrame(way.side, way.side, "stretch")
        goods = [frame.place(read_image(real.paths[i])) for i in held_out]
        made = synthesize(goods, orders(MIXES["v1.4"]["medium"], _SYNTHETIC, seed), seed)
        fresh = folder / "fresh"
        fresh.mkdir(parents=True, exist_ok=True)
        compute((way.dress(synthetic.image) for synthetic in made), _SYNTHETIC, way.backbone, fresh)
        known = cache / real.name / _VARIANT
        rows = np.concatenate([learned, held_out])
        for array in [f"map{s}" for s in MAP_STAGES] + [f"moments{s}" for s in MOMENT_STAGES]:
            before = np.load(known / f"{array}.npy", mmap_mode="r")[rows]
            np.save(folder / f"{array}.npy", np.concatenate([before, np.load(fresh / f"{array}.npy")]))
        (folder / "done").touch()
    count = len(learned) + len(held_out) + _SYNTHETIC
    return Case(
        _Chosen(
            name,
            [Path()] * count,
            np.arange(count) < len(learned),
            np.arange(count) >= len(learned),
            (np.arange(count) >= len(learned) + len(held_out)).astype(np.int64),
            np.array(["regular"] * count),
            [None] * count,
        ),
        0,
        cache,
    )


class _Chosen(Material):
    """Material whose split is given: all that may be learned is."""

    def split(self, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return np.flatnonzero(self.trainable), np.flatnonzero(self.tested)
