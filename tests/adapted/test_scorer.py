"""The scorer of v1.1 to v1.4: unit vectors, adapted or not, summed up, merged, taken back and stored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from anomalyvfm.adapted.adapters import build, load_tensors
from anomalyvfm.adapted.scorer import AdaptedScorer, with_token
from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.pipeline import under

CPU = torch.device("cpu")
WIDTH = 8


def seen(images: int, seed: int = 0, scales: tuple[int, ...] = ()) -> PatchFeatures:
    generator = torch.Generator().manual_seed(seed)
    patches = 1 + torch.randn(images, 3, 4, *scales, WIDTH, generator=generator)
    return PatchFeatures(patches, 1 + torch.randn(images, *scales, WIDTH, generator=generator))


def scorer(form: str | None = None, seed: int = 0) -> AdaptedScorer:
    adapter = None if form is None else build(form, WIDTH, rank=2, alpha=4, seed=seed)  # type: ignore[arg-type]
    return AdaptedScorer(WIDTH, CPU, adapter)


def differ(one: AdaptedScorer, other: AdaptedScorer) -> float:
    ours, theirs = one.to_tensors(), other.to_tensors()
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.mark.parametrize(("form", "scales"), [(None, ()), (None, (3,)), ("chain", ()), ("multiscale", (3,))])
def test_distances_have_the_shape_of_the_grid_and_are_about_one(
    form: str | None, scales: tuple[int, ...]
) -> None:
    one = scorer(form)
    one.learn(seen(40, scales=scales))
    distances = one.distances(seen(5, seed=1, scales=scales))
    assert distances.patch_distances.shape == (5, 3, 4)
    assert distances.image_scores.shape == (5, 1)
    again = one.distances(seen(40, scales=scales))
    for values in (again.patch_distances, again.image_scores):
        assert float(values.square().mean()) == pytest.approx(1, abs=1e-3)


def test_the_length_of_a_vector_does_not_count() -> None:
    one = scorer()
    one.learn(seen(40))
    new = seen(3, seed=1)
    longer = PatchFeatures(7 * new.patches, 7 * new.summary)
    torch.testing.assert_close(one.distances(longer).patch_distances, one.distances(new).patch_distances)
    torch.testing.assert_close(one.distances(longer).image_scores, one.distances(new).image_scores)


@pytest.mark.parametrize("form", [None, "chain", "gated"])
def test_sums_add_up_and_can_be_taken_back(form: str | None) -> None:
    whole, first, second = scorer(form), scorer(form), scorer(form)
    whole.learn(seen(6))
    whole.learn(seen(4, seed=1))
    first.learn(seen(6))
    second.learn(seen(4, seed=1))
    before = first.distances(seen(2, seed=2))
    first.merge(second)
    assert differ(first, whole) < 1e-9
    torch.testing.assert_close(
        first.distances(seen(2, seed=2)).patch_distances, whole.distances(seen(2, seed=2)).patch_distances
    )
    first.learn(seen(4, seed=1), sign=-1)
    torch.testing.assert_close(
        first.distances(seen(2, seed=2)).patch_distances, before.patch_distances, rtol=1e-4, atol=1e-5
    )
    assert first.summary.statistics.count == 6
    assert first.patches.statistics.count == 6 * 12


@pytest.mark.parametrize("form", [None, "gated"])
def test_stored_and_loaded_gives_the_same_distances(form: str | None) -> None:
    one = scorer(form)
    one.learn(seen(30))
    tensors = one.to_tensors()
    adapter = None
    if form is not None:
        adapter = build("gated", WIDTH, rank=2, alpha=4, seed=9).eval()
        load_tensors(adapter, tensors, "adapter")
    again = AdaptedScorer(WIDTH, CPU, adapter, tensors)
    assert torch.equal(
        again.distances(seen(3, seed=1)).patch_distances, one.distances(seen(3, seed=1)).patch_distances
    )
    assert again.identity() == one.identity()


def test_identity_tells_adapters_apart() -> None:
    names = {str(scorer(form, seed).identity()) for form in (None, "chain", "gated") for seed in (0, 1)}
    assert len(names) == 5  # two of each form, and one without
    assert scorer("chain").identity() == scorer("chain").identity()


def test_scorers_of_other_widths_do_not_merge() -> None:
    with pytest.raises(InputError, match="do not merge"):
        scorer().merge(AdaptedScorer(WIDTH + 1, CPU))


def test_a_summary_of_another_width_gives_way_to_the_mean_of_the_patches() -> None:
    features = seen(2)
    assert with_token(features) is features
    wide = PatchFeatures(features.patches, torch.zeros(2, 3 * WIDTH))
    torch.testing.assert_close(with_token(wide).summary, features.patches.mean((1, 2)))
    several = seen(2, scales=(3,))
    pooled = with_token(PatchFeatures(several.patches, torch.zeros(2, 3, 3 * WIDTH)))
    torch.testing.assert_close(pooled.summary, several.patches.mean((1, 2)))


def test_scales_are_averaged_as_unit_vectors_where_nothing_is_adapted() -> None:
    one, expected = scorer(), scorer()
    several = seen(20, scales=(3,))
    one.learn(several)
    mean = F.normalize(several.patches, dim=-1).mean(-2).reshape(-1, WIDTH)
    torch.testing.assert_close(one.patches.statistics.total[0].float(), mean.sum(0), rtol=1e-4, atol=1e-4)
    expected.learn(seen(20))
    assert expected.patches.statistics.count == one.patches.statistics.count


def test_distances_as_numpy_are_float64() -> None:
    one = scorer()
    one.learn(seen(20))
    cells, image_scores = one.distances(seen(2)).numpy()
    assert cells.dtype == image_scores.dtype == np.float64
    assert cells.shape == (2, 3, 4)
    assert image_scores.shape == (2, 1)


def test_tensors_are_found_by_their_prefix_alone() -> None:
    found = under(
        {"patches.total": torch.ones(1), "patchestotal": torch.ones(1), "a.b": torch.ones(1)},
        "patches",
    )
    assert list(found) == ["total"]
