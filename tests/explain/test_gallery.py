"""The sample of good images a model keeps: bounded, the same in any order, and searched rightly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.explain.gallery import Gallery
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.extractor import Extracted, PlacedImage
from anomalyvfm.features.grid import PatchGrid

GRID = PatchGrid(height=6, width=8, channels=20, step=1, dimensions=20)


def batch(keys: list[int], first: int = 0, grid: PatchGrid = GRID) -> Extracted:
    """Images whose pixels and features follow from their keys."""
    images, patches = [], []
    for key in keys:
        rng = np.random.default_rng(key)
        pixels = rng.integers(0, 255, (24, 32, 3), np.uint8)
        images.append(PlacedImage(pixels, (pixels,), (48, 64)))
        vars(images[-1])["key"] = key  # instead of the pixels' hash
        patches.append(rng.normal(size=(grid.height, grid.width, grid.channels)))
    features = PatchFeatures(torch.from_numpy(np.array(patches)).float(), torch.zeros(len(keys), 2))
    positions = [first + i for i in range(len(keys))]
    return Extracted(["x"] * len(keys), {}, images, features, 0.0, positions, [], None)


def names(count: int) -> list[str]:
    return [f"{i:03d}.png" for i in range(count)]


def filled(keys: list[int], most: int = 5) -> Gallery:
    gallery = Gallery(most, GRID)
    for i, key in enumerate(keys):
        gallery = gallery.learn(batch([key], first=i), names(len(keys)))
    return gallery


def same(one: Gallery, other: Gallery) -> bool:
    ours, theirs = one.to_tensors(), other.to_tensors()
    return set(one.images) == set(other.images) and all(
        torch.equal(tensor, theirs[name]) for name, tensor in ours.items() if name != "names"
    )


keys_ = st.lists(st.integers(1, 10_000), unique=True, max_size=14)


@given(keys=keys_, most=st.integers(0, 6))
def test_the_smallest_keys_are_kept_whatever_the_order_and_the_batches(keys: list[int], most: int) -> None:
    gallery = filled(keys, most)
    assert list(gallery.images) == sorted(keys)[:most]
    together = Gallery(most, GRID)
    if keys:
        together = together.learn(batch(keys[::-1]), names(len(keys)))
    assert same(gallery, together)


@given(keys=keys_, cut=st.integers(0, 14))
def test_two_machines_samples_give_that_of_all_images(keys: list[int], cut: int) -> None:
    assert same(filled(keys[:cut]).merge(filled(keys[cut:])), filled(keys))


def test_a_forgotten_image_is_gone_and_its_place_is_taken_by_the_next() -> None:
    gallery = filled([1, 2, 3, 4, 5, 6])
    assert list(gallery.images) == [1, 2, 3, 4, 5]
    fewer = gallery.without(lambda key: key == 2)
    assert list(fewer.images) == [1, 3, 4, 5]
    assert list(gallery.images) == [1, 2, 3, 4, 5]  # copies that judge meanwhile share it
    assert list(fewer.learn(batch([9]), names(1)).images) == [1, 3, 4, 5, 9]


def test_an_image_learned_twice_is_kept_once_under_its_first_name() -> None:
    gallery = Gallery(5, GRID).learn(batch([7]), ["first"]).learn(batch([7, 8]), ["second", "other"])
    assert [one.name for one in gallery.images.values()] == ["first", "other"]


@pytest.mark.parametrize("name", ["good/零件 №1 ü.png", "a\tb\nc.png", "x" * 300, ""])
def test_stored_and_read_back_it_is_the_same(name: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    gallery = Gallery(5, GRID).learn(batch([3, 1]), [name, "b.png"])
    save_file(gallery.to_tensors(), tmp_path / "gallery")
    again = Gallery.from_tensors(5, GRID, load_file(tmp_path / "gallery"))
    assert same(gallery, again)
    assert [one.name for one in again.images.values()] == ["b.png", name]
    assert [one.size for one in again.images.values()] == [(48, 64)] * 2
    assert len(Gallery.from_tensors(5, GRID, {})) == 0


@pytest.mark.parametrize(("side", "channels"), [(16, 192), (64, 64), (128, 16), (37, 768), (148, 768)])
def test_its_size_is_bounded_however_fine_the_features(side: int, channels: int) -> None:
    grid = PatchGrid.within(side, side, channels, 125.0, None, 64)
    pixels = np.zeros((512, 512, 3), np.uint8)
    one = batch([1], grid=grid)
    image = PlacedImage(pixels, (pixels,), (512, 512))
    kept = Gallery(100, grid).learn(
        Extracted(one.sources, {}, [image], one.features, 0.0, [0], [], None), ["a"]
    )
    size = sum(tensor.nbytes for tensor in kept.to_tensors().values())
    assert 100 * size < 20e6


def test_a_learned_place_is_its_own_nearest() -> None:
    gallery = filled([1, 2, 3, 4])
    code = gallery.encode(batch([3]).features.patches)[0]  # type: ignore[union-attr]
    for place in ((0, 0), (2, 3), (5, 7)):
        (match,) = gallery.nearest(code, [place])
        assert match.image is gallery.images[3]
        assert match.shift == (0, 0)
        assert match.distance < 0.05  # what rounding codes to bytes leaves


def test_what_has_moved_is_found_where_it_is() -> None:
    gallery = filled([1, 2, 3, 4])
    moved = torch.roll(batch([2]).features.patches, (-3, 4), (1, 2))  # type: ignore[union-attr]
    (match,) = gallery.nearest(gallery.encode(moved)[0], [(1, 6)])
    assert match.image is gallery.images[2]
    assert match.shift == (3, -4)
    assert match.distance < 0.05


def test_the_distance_is_that_of_whitened_neighbourhoods() -> None:
    gallery = filled([1, 2, 3, 4])
    rng = np.random.default_rng(8)
    code = gallery.encode(torch.from_numpy(rng.normal(size=(1, 6, 8, 20))).float())[0]
    bank = np.stack([one.codes * one.step for one in gallery.images.values()]).astype(np.float64)
    covariance = np.cov(bank.reshape(-1, 20).T, bias=True)
    precision = np.linalg.inv(covariance + 0.05 * covariance.trace() / 20 * np.eye(20))
    own, bank = code.reshape(6, 8, 20).astype(np.float64), bank.reshape(4, 6, 8, 20)

    def distance(image: int, place: tuple[int, int], other: tuple[int, int]) -> float:
        rows, columns = (slice(p - 1, p + 2) for p in place)
        there = bank[image, other[0] - 1 : other[0] + 2, other[1] - 1 : other[1] + 2]
        off = (own[rows, columns] - there).reshape(9, 20)
        return float(np.sqrt(np.einsum("ni,ij,nj->", off, precision, off) / (9 * 20 * 2)))

    (match,) = gallery.nearest(code, [(2, 3)])
    number = list(gallery.images.values()).index(match.image)
    there = (2 + match.shift[0], 3 + match.shift[1])
    assert match.distance == pytest.approx(distance(number, (2, 3), there), rel=1e-3)
    everywhere = [distance(i, (2, 3), (y, x)) for i in range(4) for y in range(1, 5) for x in range(1, 7)]
    assert match.distance <= 1.07 * min(everywhere) + 1e-6
    assert 0.8 < match.distance < 1.2  # independent of all of them


@pytest.mark.parametrize(("share", "shift"), [(1.04, (0, 0)), (1.15, (0, -4))])
def test_a_place_nearby_is_preferred_where_it_is_nearly_as_alike(
    share: float, shift: tuple[int, int]
) -> None:
    rng = torch.Generator().manual_seed(0)
    asked = torch.randn(1, 6, 8, 20, generator=rng)
    off = 0.5 * torch.randn(3, 3, 20, generator=rng)
    patches = torch.randn(1, 6, 8, 20, generator=rng)
    patches[0, 2:5, 0:3] = asked[0, 2:5, 4:7] + off
    patches[0, 2:5, 4:7] = asked[0, 2:5, 4:7] + share * off
    features = PatchFeatures(patches, torch.zeros(1, 2))
    gallery = Gallery(5, GRID).learn(
        Extracted(["x"], {}, batch([1]).images, features, 0, [0], [], None), ["a"]
    )
    (match,) = gallery.nearest(gallery.encode(asked)[0], [(3, 5)])
    assert match.shift == shift


def test_cells_of_several_features_are_compared_by_their_mean() -> None:
    grid = PatchGrid(height=5, width=7, channels=20, step=2, dimensions=20)
    gallery = Gallery(5, grid)
    patches = torch.randn(2, 5, 7, 20, generator=torch.Generator().manual_seed(0))
    codes = gallery.encode(patches)
    assert codes.shape == (2, 12, 20)
    # 20 directions of 20 channels keep all lengths.
    np.testing.assert_allclose(
        np.linalg.norm(codes[1, 1]), patches[1, 0:2, 2:4].mean((0, 1)).norm().item(), rtol=1e-5
    )
