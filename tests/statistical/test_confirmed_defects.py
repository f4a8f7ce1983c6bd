from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyvfm.decision.calibration import Alternative
from anomalyvfm.decision.odd_patches import OddPatches
from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.grid import PatchGrid
from anomalyvfm.presets import GaussianSettings
from anomalyvfm.statistical.confirmed_defects import ConfirmedDefects, DefectHead, ShownPatches, raised
from anomalyvfm.statistical.patch_scorer import PatchScorer

CPU = torch.device("cpu")
SIDE, CHANNELS, SUMMARY = 4, 6, 5


def images(count: int, seed: int) -> PatchFeatures:
    """Features whose channels are correlated, with a mean of its own at each place."""
    rng = torch.Generator().manual_seed(seed)
    places = torch.randn(SIDE, SIDE, CHANNELS, generator=torch.Generator().manual_seed(7))
    mixed = torch.randn(CHANNELS, CHANNELS, generator=torch.Generator().manual_seed(8))
    patches = places + torch.randn(count, SIDE, SIDE, CHANNELS, generator=rng) @ mixed
    return PatchFeatures(patches, torch.randn(count, SUMMARY, generator=rng))


def scorer(context: int = 0, window: int = 1) -> PatchScorer:
    grid = PatchGrid(SIDE, SIDE, CHANNELS, 1, CHANNELS)
    found = PatchScorer(grid, context, SUMMARY, GaussianSettings(), 0.0, CPU)
    found.use_window(window)
    found.learn(images(40, 1))
    return found


def mask_of(*places: tuple[int, int]) -> torch.Tensor:
    """Over a frame of two pixels for each patch."""
    mask = torch.zeros(2 * SIDE, 2 * SIDE)
    for y, x in places:
        mask[2 * y : 2 * y + 2, 2 * x : 2 * x + 2] = 1
    return mask


def seen(key: int) -> OddPatches:
    """Of one image, the three oddest patches."""
    rng = np.random.default_rng(key)
    return OddPatches.of(
        rng.random((1, SIDE, SIDE)), np.array([[1, 5, 9]]), rng.standard_normal((1, 3, CHANNELS))
    )


def confirmed(own: PatchScorer, keys: Sequence[int]) -> ConfirmedDefects:
    defects = ConfirmedDefects(1, CPU)
    for key in keys:
        mask = mask_of((key % SIDE, 1), (2, key % SIDE))
        defects.confirm(key, images(1, 100 + key), mask, [own], np.arange(3.0) + key, seen(key))
    return defects


@pytest.mark.parametrize(("context", "window"), [(0, 1), (2, 1), (0, 2)])
@pytest.mark.parametrize("beside", [[], [(0, 3), (3, 2), (1, 1)]])
def test_the_direction_is_fishers_by_an_independent_computation(
    context: int, window: int, beside: list[tuple[int, int]]
) -> None:
    own = scorer(context, window)
    defects = confirmed(own, (0, 1, 2))
    for key, one in defects.images.items():
        places = torch.tensor(beside, dtype=torch.int64).reshape(-1, 2)
        vectors = own.kept(images(1, 100 + key))[0][places[:, 0], places[:, 1]]
        defects.images[key] = replace(one, beside=(ShownPatches(vectors, places),))
    # In float64, from the features themselves, whose covariance the scorer gives.
    covariance = own.gaussian.pooled.numpy()
    learned = images(40, 1).patches.double().numpy()
    rows = SIDE // window
    means = learned.reshape(40, rows, window, rows, window, CHANNELS).mean((0, 2, 4))
    inverse = np.linalg.inv(np.linalg.cholesky(covariance))
    total, moment = np.zeros(CHANNELS), np.zeros((CHANNELS, CHANNELS))
    for key in (0, 1, 2):
        marked = sorted({(key, 1), (2, key)})
        shown = images(1, 100 + key).patches[0].double().numpy()
        for y, x in marked:
            z = inverse @ (shown[y, x] - means[y // window, x // window])
            z /= np.sqrt(np.linalg.norm(z) / np.sqrt(CHANNELS))
            total += z / len(marked) / 3
            moment += np.outer(z, z) / len(marked) / 3
        for y, x in beside:
            z = inverse @ (shown[y, x] - means[y // window, x // window])
            z /= np.sqrt(np.linalg.norm(z) / np.sqrt(CHANNELS))
            moment += 10 * np.outer(z, z) / len(beside) / 3
    expected = np.linalg.solve(moment + 2 * np.eye(CHANNELS), total)
    expected /= np.linalg.norm(expected)
    (direction,) = defects.moments([own]).directions()
    np.testing.assert_allclose(direction.numpy(), expected, atol=2e-4)
    # And what the head gives at each place is how far patches lie in it.
    head = DefectHead([own], [direction])
    judged = images(3, 9)
    wide = means.repeat(window, 0).repeat(window, 1)
    by_hand = (judged.patches.double().numpy() - wide) @ inverse.T @ expected
    np.testing.assert_allclose(head.responses(judged).numpy(), by_hand, atol=2e-3)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(5)), st.sets(st.integers(0, 4), max_size=3))
def test_in_any_order_and_whatever_was_taken_back_the_same_is_kept(order: list[int], gone: set[int]) -> None:
    own = scorer()
    defects = confirmed(own, order)
    for key in gone:
        defects.forget(key)
    never = confirmed(own, [key for key in range(5) if key not in gone])
    mine, theirs = defects.to_tensors(), never.to_tensors()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert torch.equal(defects.moments([own]).directions()[0], never.moments([own]).directions()[0])
    with_one_less = confirmed(own, [key for key in range(5) if key not in gone | {4}])
    left_out = defects.moments([own]).directions(without=(4,))[0]
    torch.testing.assert_close(left_out, with_one_less.moments([own]).directions()[0], rtol=0, atol=1e-5)


def test_what_is_stored_comes_back() -> None:
    own = scorer()
    defects = confirmed(own, (3, 1))
    defects.log_prior, defects.rise = -2.0, 3.5
    again = ConfirmedDefects(1, CPU, defects.to_tensors())
    assert (again.log_prior, again.rise) == (-2.0, 3.5) and sorted(again.images) == [1, 3]
    assert torch.equal(again.moments([own]).directions()[0], defects.moments([own]).directions()[0])
    assert again.images[3].image_scores.tolist() == [3.0, 4.0, 5.0]
    np.testing.assert_array_equal(again.images[3].odd.codes, seen(3).codes)
    np.testing.assert_array_equal(again.images[3].odd_beside, defects.images[3].odd_beside)
    assert torch.equal(again.images[3].beside[0].vectors, defects.images[3].beside[0].vectors)
    earlier = {name: tensor for name, tensor in defects.to_tensors().items() if name != "odd_beside"}
    with pytest.raises(InputError, match="confirmed by an earlier version; fit it anew"):
        ConfirmedDefects(1, CPU, earlier)
    assert ConfirmedDefects(1, CPU).to_tensors() == {} and not ConfirmedDefects(1, CPU, {})


def test_without_a_mask_the_oddest_patches_are_the_defect() -> None:
    own = scorer()
    shown = images(1, 50)
    shown.patches[0, 3, 0] += 40.0
    defects = ConfirmedDefects(1, CPU)
    defects.confirm(1, shown, None, [own], np.ones(3), seen(1))
    (kept,) = defects.images[1].patches
    assert len(kept.places) == 5 and [3, 0] in kept.places.tolist()


def test_a_defect_smaller_than_a_patch_is_where_it_is_most() -> None:
    own = scorer()
    mask = torch.zeros(2 * SIDE, 2 * SIDE)
    mask[5, 3] = 0.3
    defects = ConfirmedDefects(1, CPU)
    defects.confirm(1, images(1, 50), mask, [own], np.ones(3), seen(1))
    assert defects.images[1].patches[0].places.tolist() == [[2, 1]]


def test_places_beside_a_defect_are_three_patches_from_all_that_its_mask_touches() -> None:
    grid = PatchGrid(16, 16, CHANNELS, 1, CHANNELS)
    own = PatchScorer(grid, 0, SUMMARY, GaussianSettings(), 0.0, CPU)
    shown = torch.randn(30, 16, 16, CHANNELS, generator=torch.Generator().manual_seed(0))
    own.learn(PatchFeatures(shown, torch.zeros(30, SUMMARY)))
    first = PatchFeatures(shown[:1], torch.zeros(1, SUMMARY))
    odd = OddPatches.of(np.ones((1, 16, 16)), np.arange(256)[None], np.ones((1, 256, CHANNELS)))
    mask = torch.zeros(64, 64)
    mask[40, 8:13] = 0.1  # patches (10, 2) and (10, 3), barely
    defects = ConfirmedDefects(1, CPU)
    defects.confirm(1, first, mask, [own], np.ones(3), odd)
    rows, columns = np.mgrid[:16, :16]
    away = np.maximum(np.abs(rows - 10), np.minimum(np.abs(columns - 2), np.abs(columns - 3)))
    one = defects.images[1]
    np.testing.assert_array_equal(one.odd_beside.reshape(16, 16), away >= 3)
    (beside,) = one.beside
    assert len(beside.places) == 128 and (away[tuple(beside.places.T.numpy())] >= 3).all()
    assert torch.equal(beside.vectors, own.kept(first)[0][beside.places[:, 0], beside.places[:, 1]])
    defects.confirm(2, first, None, [own], np.ones(3), odd)
    assert not defects.images[2].odd_beside.any() and len(defects.images[2].beside[0].places) == 0
    defects.forget(1)  # and of images without a mask alone all is known that can be
    again = ConfirmedDefects(1, CPU, defects.to_tensors())
    assert torch.equal(again.moments([own]).directions()[0], defects.moments([own]).directions()[0])


def test_a_large_defect_is_kept_in_part() -> None:
    grid = PatchGrid(16, 16, CHANNELS, 1, CHANNELS)
    own = PatchScorer(grid, 0, SUMMARY, GaussianSettings(), 0.0, CPU)
    shown = torch.randn(30, 16, 16, CHANNELS, generator=torch.Generator().manual_seed(0))
    own.learn(PatchFeatures(shown, torch.zeros(30, SUMMARY)))
    defects = ConfirmedDefects(1, CPU)
    first = PatchFeatures(shown[:1], torch.zeros(1, SUMMARY))
    defects.confirm(1, first, torch.ones(16, 16), [own], np.ones(3), seen(1))
    places = defects.images[1].patches[0].places
    assert len(places) == 64 and places[0].tolist() == [0, 0] and places[-1].tolist() == [15, 15]


@given(st.lists(st.floats(-50, 50), min_size=4, max_size=4), st.floats(0, 10))
def test_what_is_like_no_confirmed_defect_keeps_its_distance(responses: list[float], rise: float) -> None:
    map_ = torch.tensor([[[0.5, 1.0], [2.0, 4.0]]])
    given_ = torch.tensor(responses).reshape(1, 2, 2)
    found = raised(map_, given_, rise)
    expected = map_.numpy() + rise * np.maximum(np.array(responses).reshape(1, 2, 2), 0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    assert torch.equal(found[given_ <= 0], map_[given_ <= 0])


def test_likeness_comes_last_among_scores_and_the_light_stays_last_among_alternatives() -> None:
    without = (Alternative((1.0, 0.0)), Alternative((0.0, 1.0), -1.5))
    none = ConfirmedDefects(1, CPU)
    assert none.alternatives(without, True) is without
    defects = confirmed(scorer(), (1,))
    longer = (Alternative((1.0, 0.0, 0.0)), Alternative((0.0, 1.0, 0.0), -1.5))
    assert defects.alternatives(without, True) == longer
    defects.log_prior = -3.0
    like_these = Alternative((0.0, 0.0, 2.0), -3.0)
    assert defects.alternatives(without, True) == (longer[0], like_these, longer[1])
    assert defects.alternatives(without, False) == (*longer, like_these)
