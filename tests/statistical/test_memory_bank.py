from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from anomalyvfm.statistical import memory_bank
from anomalyvfm.statistical.memory_bank import MemoryBank, farthest_first, farthest_of_each, smallest

CPU = torch.device("cpu")


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.sampled_from([1, 31, 32, 33, 64, 96]))
def test_the_smallest_of_each_row_is_found(seed: int, rows: int, columns: int) -> None:
    values = torch.from_numpy(np.random.default_rng(seed).integers(0, 50, (rows, columns)))
    found = smallest(values)
    assert torch.equal(values[torch.arange(rows), found], values.amin(1))


def patches_of(key: int) -> Tensor:
    """(1, 9, 9, 6) of the image with that key."""
    return torch.randn(1, 9, 9, 6, generator=torch.Generator().manual_seed(key))


def bank_of(keys: Sequence[int]) -> MemoryBank:
    bank = MemoryBank(6, CPU)
    for key in keys:
        bank.remember(patches_of(key), [key])
    return bank


def same(one: MemoryBank, other: MemoryBank) -> bool:
    pairs = zip(one.to_tensors().items(), other.to_tensors().items(), strict=True)
    return all(name == called and torch.equal(mine, theirs) for (name, mine), (called, theirs) in pairs)


@given(st.lists(st.integers(0, 30), min_size=2, max_size=12), st.data())
@settings(max_examples=40, deadline=None)
def test_what_is_remembered_follows_from_the_images_alone(keys: list[int], data: st.DataObject) -> None:
    whole = bank_of(keys)
    assert same(whole, bank_of(data.draw(st.permutations(keys))))
    at = data.draw(st.integers(1, len(keys) - 1))
    merged = bank_of(keys[:at])
    merged.merge(bank_of(keys[at:]))
    assert same(whole, merged)
    for key in keys[at:]:
        whole.remember(patches_of(key), [key], -1)
    assert same(whole, bank_of(keys[:at]))


def test_of_many_images_those_with_the_lowest_keys_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_bank, "IMAGES", 4)
    whole = bank_of(range(9))
    assert whole.to_tensors()["keys"].tolist() == [0, 1, 2, 3]
    assert same(whole, bank_of([8, 3, 0, 7, 2, 6, 5, 1, 4]))
    merged = bank_of([7, 2, 5, 0, 6])
    merged.merge(bank_of([8, 4, 1, 3]))
    assert same(whole, merged)
    # One that had to go is not taken in later, when there is room again: others like it are not there either.
    whole.remember(patches_of(0), [0], -1)
    whole.remember(patches_of(6), [6])
    assert whole.to_tensors()["keys"].tolist() == [1, 2, 3]
    for key in (1, 2, 3):
        whole.remember(patches_of(key), [key], -1)
    assert whole.distances(patches_of(9)).isfinite().all()
    assert same(whole, MemoryBank(6, CPU, whole.to_tensors()))


def test_distances_are_those_to_the_nearest_patch() -> None:
    bank = bank_of(range(3))
    every = torch.cat([patches_of(key) for key in range(3)]).flatten(0, 2).double()
    kept = bank.to_tensors()["patches"].flatten(0, 1).double()
    assert torch.cdist(kept, every).amin(1).max() < 1e-2, (
        "what is kept are the images' own patches, in halves"
    )
    between = torch.cdist(kept, kept).fill_diagonal_(torch.inf).amin(1)
    new = patches_of(99)
    expected = torch.cdist(new.flatten(0, 2).double(), kept).amin(1) / between.square().mean().sqrt()
    torch.testing.assert_close(bank.distances(new).flatten().double(), expected, rtol=1e-4, atol=1e-4)


def test_an_image_that_is_left_out_was_never_learned() -> None:
    bank, without = bank_of(range(5)), bank_of([0, 1, 3])
    bank.leave_out([2, 4])
    torch.testing.assert_close(bank.distances(patches_of(9)), without.distances(patches_of(9)))
    bank.leave_out([])
    torch.testing.assert_close(bank.distances(patches_of(9)), bank_of(range(5)).distances(patches_of(9)))


def test_each_center_is_the_farthest_from_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.randn(700, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    chosen = [int(vectors.norm(dim=1).argmax())]
    while len(chosen) < 60:
        chosen.append(int(torch.cdist(vectors, vectors[chosen]).amin(1).argmax()))
    assert farthest_first(vectors, 60) == chosen
    monkeypatch.setattr(memory_bank, "_POOL", 1)
    monkeypatch.setattr(memory_bank, "_PASS", 7)
    assert farthest_first(vectors, 60) == chosen


def test_of_several_images_each_has_its_own_centers() -> None:
    sets = torch.randn(3, 90, 7, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert farthest_of_each(sets, 60).tolist() == [farthest_first(vectors, 60) for vectors in sets]
    assert farthest_of_each(sets[:, :20], 60).shape == (3, 20)


def test_a_rare_patch_of_one_image_is_known_although_few_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_bank, "CENTERS", 40)
    rare = torch.full((6,), 12.0)
    bank = bank_of(range(20))
    images = patches_of(50)
    images[0, 4, 4] = rare
    before = bank.distances(images)
    bank.remember(images, [50])
    after = bank.distances(images)
    assert before[0, 4, 4] > 3 * before.median()
    assert after[0, 4, 4] < 0.1


def test_a_copy_learns_on_its_own_and_what_is_written_is_read_again() -> None:
    bank = bank_of(range(4))
    copied = copy.deepcopy(bank)
    copied.remember(patches_of(7), [7])
    assert same(bank, bank_of(range(4)))
    assert same(copied, bank_of([*range(4), 7]))
    again = MemoryBank(6, CPU, copied.to_tensors())
    assert same(copied, again)
    np.testing.assert_array_equal(copied.distances(patches_of(9)), again.distances(patches_of(9)))


def test_images_without_any_difference_have_distances_above_zero() -> None:
    white = torch.ones(2, 9, 9, 6)
    bank = MemoryBank(6, CPU)
    bank.remember(white, [1, 2])
    found = bank.distances(white)
    assert found.isfinite().all()
    assert (found > 0).all()


def test_wide_features_are_compared_in_fewer_dimensions() -> None:
    wide = torch.randn(3, 8, 8, 900, generator=torch.Generator().manual_seed(0))
    bank = MemoryBank(900, CPU)
    bank.remember(wide[:2], [1, 2])
    assert bank.to_tensors()["patches"].shape[2] == memory_bank.DIMENSIONS
    assert bank.distances(wide[2:]).mean() > 5 * bank.distances(wide[:1]).flatten().sort().values[:40].mean()
