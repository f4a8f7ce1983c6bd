"""Distances split among layers: the parts sum to the whole, and name the layer that is off."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.grid import PatchGrid, orthonormal
from anomalyvfm.presets import GaussianSettings
from anomalyvfm.statistical.choice import Choice
from anomalyvfm.statistical.gaussian import Gaussian
from anomalyvfm.statistical.layer_contributions import channel_contributions, shares
from anomalyvfm.statistical.scorer import StatisticalScorer
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics

WIDTHS = (12, 20)


def good(images: int, seed: int, channels: int = sum(WIDTHS)) -> PatchFeatures:
    """Features of a 4 × 5 grid that differ by place and move together with the summary."""
    place = np.random.default_rng(99)
    mixing, means = place.normal(size=(channels, channels)), place.normal(0, 5, (4, 5, channels))
    to_patches = place.normal(size=(6, channels))
    rng = np.random.default_rng(seed)
    summary = rng.normal(size=(images, 6))
    noise = rng.normal(size=(images, 4, 5, channels)) @ mixing
    patches = means + noise + (summary @ to_patches)[:, None, None]
    return PatchFeatures(torch.from_numpy(patches).float(), torch.from_numpy(summary).float())


def scorer(**settings: object) -> StatisticalScorer:
    chosen = GaussianSettings(context_dimensions=3, **settings)
    grid = PatchGrid.within(4, 5, sum(WIDTHS), chosen.max_mb, chosen.dimensions, chosen.context_dimensions)
    choice = Choice(1, (0,), 0.0)
    learned = StatisticalScorer([grid], 6, 0, None, chosen, choice, torch.device("cpu"))
    learned.learn(good(300, 0))
    return learned


@given(seed=st.integers(0, 1000), given_=st.integers(0, 3), dims=st.integers(1, 8), projected=st.booleans())
def test_the_parts_sum_to_the_distance(seed: int, given_: int, dims: int, projected: bool) -> None:
    rng = np.random.default_rng(seed)
    channels = dims + 3 if projected else dims
    projection = orthonormal(channels, dims) if projected else None
    full = rng.normal(size=(2, 40, channels)) @ rng.normal(size=(channels, channels)) + 3
    summary = rng.normal(size=(2, 40, given_))
    own = full if projection is None else full @ projection.double().numpy()
    vectors = torch.from_numpy(np.concatenate([summary, own], 2))
    statistics = SufficientStatistics(2, given_ + dims)
    statistics.add(vectors)
    gaussian = Gaussian(statistics, 5.0, given_)
    cells = torch.tensor([0, 1, 1])
    asked = vectors[cells, :3].diagonal(dim1=0, dim2=1).T.float() * 2
    # The means of all channels tell how far the features are from them, whatever their projection keeps.
    z = torch.from_numpy(full)[cells, :3].diagonal(dim1=0, dim2=1).T.float() * 2
    deviations = z - torch.from_numpy(full.mean(1))[cells].float()
    parts = channel_contributions(gaussian, cells, asked, projection, deviations)
    expected = torch.stack(
        [gaussian.distance(asked[None].expand(2, -1, -1))[c, i] for i, c in enumerate(cells)]
    )
    assert parts.shape == (3, channels)
    torch.testing.assert_close(parts.sum(1), expected, rtol=2e-3, atol=2e-3)


def test_a_layers_part_is_its_shapley_value() -> None:
    rng = np.random.default_rng(3)
    data = rng.normal(size=(1, 200, 6)) @ rng.normal(size=(6, 6))
    statistics = SufficientStatistics(1, 6)
    statistics.add(torch.from_numpy(data))
    gaussian = Gaussian(statistics, 1e-9)
    off = rng.normal(size=6) * 3
    vector = torch.from_numpy(data[0].mean(0) + off).float()[None]
    parts = channel_contributions(gaussian, torch.tensor([0]), vector)[0].double().numpy()
    precision = np.linalg.inv(np.cov(data[0].T, bias=True) + 1e-12 * np.eye(6))
    layers = [slice(0, 1), slice(1, 4), slice(4, 6)]

    def worth(chosen: tuple[int, ...]) -> float:
        some = np.zeros(6)
        for layer in chosen:
            some[layers[layer]] = off[layers[layer]]
        return float(some @ precision @ some) / 6

    expected = np.zeros(3)
    orders = list(permutations(range(3)))
    for order in orders:
        for rank, layer in enumerate(order):
            expected[layer] += (worth(order[: rank + 1]) - worth(order[:rank])) / len(orders)
    np.testing.assert_allclose([parts[layer].sum() for layer in layers], expected, rtol=1e-3)


@pytest.mark.parametrize("dimensions", [None, 10])
@pytest.mark.parametrize("layer", [0, 1])
def test_the_layer_that_a_defect_is_in_objects_most(dimensions: int | None, layer: int) -> None:
    learned = scorer(dimensions=dimensions)
    odd = good(1, 5)
    part = slice(0, WIDTHS[0]) if layer == 0 else slice(WIDTHS[0], None)
    odd.patches[0, 2, 3, part] += 30 * torch.randn(WIDTHS[layer], generator=torch.Generator().manual_seed(1))
    found = learned.layer_shares(odd, torch.tensor([[2, 3], [0, 0]]), WIDTHS)
    assert found.shape == (2, 2)
    assert found[0, layer] > 0.9
    torch.testing.assert_close(found.sum(1), torch.ones(2))


def test_cells_of_several_places_are_explained_by_their_own_statistics() -> None:
    learned = scorer(max_mb=0.02, dimensions=16)
    assert learned.grid.step > 1
    odd = good(1, 5)
    odd.patches[0, 3, 4, : WIDTHS[0]] += 40 * torch.randn(12, generator=torch.Generator().manual_seed(1))
    places = torch.tensor([[3, 4], [0, 4], [3, 0]])
    squared = learned.distances(odd).patch_distances[0].square()
    parts = learned.patches[0].contributions(odd, places, learned._channels)
    torch.testing.assert_close(parts.sum(1), squared[places[:, 0], places[:, 1]], rtol=1e-3, atol=1e-3)
    assert learned.layer_shares(odd, places, WIDTHS)[0, 0] > 0.75


def test_a_layer_that_makes_the_others_more_plausible_counts_nothing() -> None:
    found = shares(torch.tensor([[3.0, 1.0, -2.0, -1.0], [0.0, 0.0, 0.0, 0.0]]), (2, 2))
    assert found.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_sums_of_all_channels_are_taken_back_and_added_up_like_the_others() -> None:
    one, other = scorer(dimensions=10), scorer(dimensions=10)
    before = one._channels.clone()  # type: ignore[union-attr]
    one.learn(good(8, 1))
    one.learn(good(8, 1), -1)
    assert one._channels is not None
    torch.testing.assert_close(one._channels, before)
    one.merge(other)
    torch.testing.assert_close(one._channels, 2 * before)
    assert scorer()._channels is None  # the statistics hold them themselves
