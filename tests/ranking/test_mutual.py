"""Mutual scoring against its definition, in float64 and loop by loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anomalyvfm.ranking import mutual
from anomalyvfm.ranking.mutual import SHARE, MutualDistances


def images(count: int) -> torch.Tensor:
    """(N, 4, 5, 7) random patches, of channels that vary more and less."""
    patches = torch.randn(count, 4, 5, 7, generator=torch.Generator().manual_seed(0))
    return patches * torch.arange(1, 8)


def defined(grids: NDArray[np.float64], image: int) -> NDArray[np.float64]:
    """(h, w) of one of the images whose patches (N, h, w, C) are all there are."""
    vectors = grids.reshape(-1, grids.shape[-1])
    variances, axes = np.linalg.eigh(np.cov(vectors.T, bias=True))
    whitened = (grids - vectors.mean(0)) @ (axes / np.sqrt(variances + mutual._FLOOR * variances.mean()))
    flat = whitened.reshape(len(grids), -1, whitened.shape[-1])
    others = [number for number in range(len(grids)) if number != image]
    result = []
    for patch in flat[image]:
        nearest = sorted(min(float(np.linalg.norm(patch - one)) for one in flat[other]) for other in others)
        result.append(np.mean(nearest[: math.ceil(SHARE * len(others))]))
    return np.array(result).reshape(grids.shape[1:3])


@pytest.mark.parametrize("at_once", [40, 4096])
def test_maps_are_as_defined(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutual, "_AT_ONCE", at_once)
    batch = images(8)
    maps = MutualDistances.of(batch, range(8)).maps(batch, range(8)).numpy()
    for image in range(8):
        np.testing.assert_allclose(maps[image], defined(batch.double().numpy(), image), rtol=1e-3)


def test_an_image_is_not_compared_with_itself_nor_its_copies() -> None:
    batch = images(6)
    alone = MutualDistances.of(batch, range(6)).maps(batch[:1], [0])
    beside = MutualDistances.of(torch.cat([batch[:1], batch]), [0, 0, 1, 2, 3, 4, 5])
    # The copy counts in the mean and spread of what is whitened, and in nothing else.
    assert float((beside.maps(batch[:1], [0]) / alone - 1).abs().max()) < 0.2
    taken_for_another = beside.maps(batch[:1], [99])
    assert float((taken_for_another / alone).max()) < 0.6


def test_what_few_images_show_is_odd_and_what_a_third_show_is_not() -> None:
    patches = 0.1 * torch.randn(20, 6, 6, 12, generator=torch.Generator().manual_seed(1))
    patches[:8, 1, 1] += 3.0  # in eight of twenty
    patches[19, 4, 4] -= 3.0
    maps = MutualDistances.of(patches, range(20)).maps(patches, range(20))
    assert int(maps[19].argmax()) == 4 * 6 + 4
    assert float(maps[19].max()) > 1.5 * float(maps[:19].max())
