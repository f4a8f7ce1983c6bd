from __future__ import annotations

import numpy as np
import torch

from anomalyvfm.features.grid import PatchGrid
from anomalyvfm.ranking.trimmed import TrimmedGaussians
from anomalyvfm.statistical.gaussian import Gaussian
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics

GRID = PatchGrid(height=4, width=4, channels=6, step=2, dimensions=6)
PRIOR = 3.0


def patches(images: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    mixed = torch.randn(6, 6, generator=rng)
    return torch.randn(images, 4, 4, 6, generator=rng) @ mixed


def of(vectors: torch.Tensor) -> Gaussian:
    statistics = SufficientStatistics(*vectors.shape[::2])
    statistics.add(vectors)
    return Gaussian(statistics, PRIOR * GRID.step**2)


def test_the_second_gaussian_is_of_the_nine_tenths_nearest_to_the_first() -> None:
    batch = patches(20)
    vectors = GRID.to_positions(batch)
    distances = of(vectors).distance(vectors).numpy()
    nearest = [np.sort(np.argsort(row, kind="stable")[:72]) for row in distances]
    kept = torch.stack([own[rows] for own, rows in zip(vectors, nearest, strict=True)])
    expected = GRID.to_map(of(kept).distance(vectors), 20).log()
    torch.testing.assert_close(TrimmedGaussians(GRID, batch, PRIOR).maps(batch), expected)


def test_a_defect_at_one_place_in_a_tenth_of_the_images_does_not_hide_itself() -> None:
    batch = patches(40)
    odd = batch.clone()
    odd[:4, 1, 1] += 30.0
    clean = TrimmedGaussians(GRID, batch, PRIOR).maps(odd)
    among_them = TrimmedGaussians(GRID, odd, PRIOR).maps(odd)
    hidden = GRID.to_map(of(GRID.to_positions(odd)).distance(GRID.to_positions(odd)), 40).log()
    # Odd as if none had been learned, where untrimmed Gaussians have made room for it.
    assert float((among_them - clean)[:4, 1, 1].abs().max()) < 0.5
    assert float((hidden - clean)[:4, 1, 1].max()) < -1.0
