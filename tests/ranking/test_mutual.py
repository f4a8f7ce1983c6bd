from __future__ import annotations

import numpy as np
import pytest
import torch

from anomalyvfm.ranking.mutual import MutualDistances


def patches(images: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(images, 5, 4, 3, generator=torch.Generator().manual_seed(seed))


def expected(batch: torch.Tensor, image: int, place: int, count: int) -> float:
    """Of one patch, by all distances in float64."""
    others = np.delete(batch.double().flatten(1, 2).numpy(), image, axis=0)
    patch = batch[image].double().flatten(0, 1)[place].numpy()
    nearest = np.sort(((others - patch) ** 2).sum(2).min(1))[:count]
    return float(np.log(nearest).mean() / 2)


@pytest.mark.parametrize(("images", "count"), [(6, 1), (101, 2), (151, 3)])
def test_it_is_the_distance_to_the_fiftieth_of_the_others_that_come_nearest(images: int, count: int) -> None:
    batch = patches(images)
    map_ = torch.randn(images, 5, 4, generator=torch.Generator().manual_seed(1))
    found = MutualDistances(batch, range(images)).of(batch[:3], range(3), map_[:3])
    assert found.shape == (3, 16)
    for image in range(3):
        oddest = map_[image].flatten().argsort(descending=True)[:16]
        want = [expected(batch, image, int(place), count) for place in oddest]
        np.testing.assert_allclose(found[image], want, atol=1e-4)


def test_what_another_image_shows_elsewhere_is_near() -> None:
    batch = patches(6)
    batch[0, 1, 1] = 9.0
    batch[4, 3, 2] = 9.0
    alone = torch.zeros(2, 5, 4)
    alone[0, 1, 1] = 1.0
    found = MutualDistances(batch, range(6)).of(batch[:2], range(2), alone)
    assert found[0, 0] < -3.0
    batch[4, 3, 2] = 0.0
    assert MutualDistances(batch, range(6)).of(batch[:2], range(2), alone)[0, 0] > 2.0


def test_copies_of_an_image_do_not_vouch_for_it() -> None:
    batch, map_ = patches(5), torch.zeros(1, 5, 4)
    copied = torch.cat([batch, batch[:1], batch[:1]])
    found = MutualDistances(copied, [0, 1, 2, 3, 4, 0, 0]).of(batch[:1], [0], map_)
    torch.testing.assert_close(found, MutualDistances(batch, range(5)).of(batch[:1], [0], map_))


def test_an_image_that_is_no_reference_is_compared_with_all() -> None:
    batch, map_ = patches(5), torch.zeros(1, 5, 4)
    found = MutualDistances(batch[1:], range(1, 5)).of(batch[:1], [0], map_)
    torch.testing.assert_close(found, MutualDistances(batch, range(5)).of(batch[:1], [0], map_))
