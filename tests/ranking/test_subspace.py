from __future__ import annotations

import numpy as np
import torch

from anomalyvfm.ranking.subspace import Subspace


def test_what_lies_off_the_plane_of_most_patches_is_as_far_as_it_is() -> None:
    rng = torch.Generator().manual_seed(0)
    plane = torch.linalg.qr(torch.randn(8, 2, generator=rng)).Q
    patches = 5 * torch.randn(10, 6, 6, 2, generator=rng) @ plane.T
    off = torch.linalg.qr(torch.cat([plane, torch.randn(8, 1, generator=rng)], 1)).Q[:, 2]
    patches[0, 2, 3] += 40 * off  # one of 360, and far enough to turn a plane that it is let into
    maps = Subspace.of(patches).maps(patches)
    assert abs(float(maps[0, 2, 3]) - 40) < 1e-2
    maps[0, 2, 3] = 0
    assert float(maps.max()) < 1e-2


def test_untrimmed_it_is_principal_components() -> None:
    patches = torch.randn(5, 4, 4, 6, generator=torch.Generator().manual_seed(1)) * torch.arange(1, 7)
    found = Subspace._spanned(patches.flatten(0, 2))
    vectors = patches.reshape(-1, 6).double().numpy()
    centred = vectors - vectors.mean(0)
    values, axes = np.linalg.svd(centred)[1:]
    count = int((np.cumsum(values**2) / (values**2).sum() < 0.95).sum()) + 1
    expected = np.linalg.norm(centred - centred @ axes[:count].T @ axes[:count], axis=1)
    np.testing.assert_allclose(found.maps(patches).flatten(), expected, atol=1e-4)
