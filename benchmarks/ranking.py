"""How well a batch without a known good image is ranked: `make bench-ranking`.

    python benchmarks/ranking.py [--sets magnetic_tile,pcb,cookies,elpv-mono] [--draws 5]

Of a set's labelled test images (of elpv: of all), all good ones, but no more than 400, and so many defective
ones, drawn by the seed, that they are a tenth of the batch. Image AUROC of the ranking: mean, lowest and
highest of the draws.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from anomalyvfm.metrics.image import auroc
from anomalyvfm.presets import GaussianPreset, preset
from anomalyvfm.ranking.rank import rank
from labelled_sets import arguments, opened, paths

_SHARE = 0.1
_MOST_GOOD = 400
_TARGET = 0.85


def main() -> None:
    given = arguments(__doc__, draws=5)
    settings = preset("v2").override({"backbone": given.backbone})
    assert isinstance(settings, GaussianPreset)
    print("| set | good | defective | image AUROC, mean (lowest to highest) | ms an image |")
    print("|---|---|---|---|---|", flush=True)
    reached = 0
    for name in given.sets:
        good, bad = _labelled(name)
        areas, seconds = [], 0.0
        for draw in range(given.draws):
            rng = np.random.default_rng(draw)
            kept = [good[i] for i in rng.permutation(len(good))[:_MOST_GOOD]]
            count = max(1, round(_SHARE / (1 - _SHARE) * len(kept)))
            batch = [*kept, *(bad[i] for i in rng.permutation(len(bad))[:count])]
            started = time.perf_counter()
            ranking = rank(batch, settings, seed=draw)
            seconds += time.perf_counter() - started
            areas.append(float(auroc(ranking.scores, [0] * len(kept) + [1] * count).value or 0.5))
        reached += float(np.mean(areas)) >= _TARGET
        shown = f"{np.mean(areas):.3f} ({min(areas):.3f} to {max(areas):.3f})"
        each = 1000 * seconds / given.draws / len(batch)
        print(f"| {name} | {len(kept)} | {count} | {shown} | {each:.0f} |", flush=True)
    print(f"\n{reached} of {len(given.sets)} sets reach {_TARGET}.")


def _labelled(name: str) -> tuple[list[Path], list[Path]]:
    """Good and defective images of a set."""
    category = opened(name)
    samples = [*category.train, *category.test] if name.startswith("elpv") else category.test
    return paths(samples, 0), paths(samples, 1)


if __name__ == "__main__":
    main()
