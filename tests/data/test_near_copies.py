"""Which good images are near copies of those said to be defective, and which only look much alike."""

from __future__ import annotations

import json
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.data.near_copies import NearCopies

Pixels = NDArray[np.uint8]
SIDE = 128


def part(seed: int, noise: float = 2.0, shift: int = 0) -> Pixels:
    """A part as a camera sees it: the same each time but for noise, or moved by some pixels."""
    y, x = np.mgrid[:SIDE, :SIDE]
    pattern = 128 + 60 * np.sin((x + shift) / 9) * np.cos(y / 13)
    noisy = pattern[..., None] + np.random.default_rng(seed).normal(0, noise, (SIDE, SIDE, 3))
    return np.asarray(noisy.clip(0, 255), np.uint8)


def compressed(image: Pixels, quality: int) -> Pixels:
    stream = BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def found(good: list[Pixels], *images: Pixels) -> dict[int, str]:
    near = NearCopies()
    for image in images:
        near.add(image)
    for number, image in enumerate(good):
        near.look(f"good {number}", image)
    return near.found()


@pytest.mark.parametrize("quality", [60, 90])
def test_a_compressed_copy_is_found(quality: int) -> None:
    good = [part(n, shift=7 * n) for n in range(9)]
    assert found(good, part(99, shift=400), compressed(good[4], quality)) == {1: "good 4"}


def test_a_brighter_copy_is_found() -> None:
    good = [part(n, shift=7 * n) for n in range(9)]
    assert found(good, (good[2] // 2 + 60), (good[3].clip(0, 245) + 10).astype(np.uint8)) == {1: "good 3"}


@given(st.integers(0, SIDE - 12), st.integers(0, SIDE - 12), st.integers(30, 90))
def test_the_same_part_with_a_defect_is_no_copy(top: int, left: int, depth: int) -> None:
    """A part in a fixture, photographed before and after it was scratched."""
    good = [part(n) for n in range(5)]
    scratched = good[3].astype(int)
    scratched[top : top + 12, left : left + 3] -= depth
    assert found(good, scratched.clip(0, 255).astype(np.uint8)) == {}


def test_another_picture_of_the_same_part_is_no_copy() -> None:
    assert found([part(n) for n in range(9)], part(50), part(51)) == {}


def test_without_images_there_is_nothing_to_find() -> None:
    assert found([part(0)]) == {} and NearCopies().found() == {}
    assert found([part(0), part(1)], part(0)) == {0: "good 0"}


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(0, 30), max_size=3))
def test_looks_at_parts_of_the_images_are_together_one_look_at_all(
    numbers: list[int], cuts: list[int]
) -> None:
    rng = np.random.default_rng(5)
    pictures = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)

    def looking(shown: list[tuple[str, int]]) -> NearCopies:
        near = NearCopies()
        for number in (2, 4):
            near.add(pictures[number])
        for name, number in shown:
            near.look(name, pictures[number])
        return near

    named = [(f"image {place}", number) for place, number in enumerate(numbers)]
    edges = [0, *sorted(cuts), len(named)]
    joined = looking([])
    for first, end in pairwise(edges):
        joined.merge(json.loads(json.dumps(looking(named[first:end]).as_dict(), allow_nan=False)))
    assert json.dumps(joined.as_dict()) == json.dumps(looking(named).as_dict())
    assert joined.found() == looking(named).found()
