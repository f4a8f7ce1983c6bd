"""Sets of synthetic defects, in memory and as files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalyvfm.data import read_image, read_mask
from anomalyvfm.data.generated import draw_good
from anomalyvfm.errors import InputError
from anomalyvfm.synthesis import Mix, mixes, orders, synthesize, write_pairs
from anomalyvfm.synthesis.patch import Image8


def _good(count: int = 6, size: int = 64) -> list[Image8]:
    rng = np.random.default_rng(0)
    return [draw_good("grains", size, rng) for _ in range(count)]


def test_as_many_of_each_stage_as_ordered_from_several_images() -> None:
    images = _good()
    made = list(synthesize(images, orders(mixes("v1.2", "high-texture"), 18)))
    assert Counter(one.stage for one in made) == {"texture": 8, "structural": 5, "contextual": 5}
    assert len({one.source for one in made}) > 3
    for one in made:
        assert one.mask.any()
        assert ((one.image != images[one.source]).any(axis=2) == one.mask).all()
        assert (one.donor is not None) == (one.stage == "contextual")
        assert one.donor != one.source


def test_each_defect_depends_on_its_place_and_the_seed_alone() -> None:
    images, wanted = _good(), orders(mixes("v1.4"), 8)
    whole = [one.image for one in synthesize(images, wanted, seed=5)]
    first = [one.image for one in synthesize(images, wanted[:3], seed=5)]
    other = [one.image for one in synthesize(images, wanted[:3], seed=6)]
    assert all((a == b).all() for a, b in zip(first, whole, strict=False))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_images_are_read_only_when_needed() -> None:
    class Reading:
        def __init__(self) -> None:
            self.read: list[int] = []

        def __len__(self) -> int:
            return 1000

        def __getitem__(self, index: int) -> Image8:
            self.read.append(index)
            return np.random.default_rng(index).integers(0, 256, (40, 40, 3), dtype=np.uint8)

    images = Reading()
    for _ in synthesize(images, orders([Mix((1, 1, 1))], 9)):
        pass
    assert len(images.read) == 9 + 3


def test_fewer_than_two_good_images_are_refused() -> None:
    with pytest.raises(InputError, match="1 good image to make synthetic defects from; at least 2"):
        next(synthesize(_good(1), orders(mixes("v1.1"))))


def test_empty_images_of_one_colour_cannot_be_pasted_into_one_another() -> None:
    white = [np.full((64, 64, 3), 255, np.uint8)] * 3
    with pytest.raises(InputError, match="contextual defects in a row changed no pixel"):
        list(synthesize(white, orders([Mix((0, 0, 1))], 2)))


def test_pairs_on_disk_are_the_images_and_masks_and_the_sheet_shows_both(tmp_path: Path) -> None:
    made = list(synthesize(_good(), orders(mixes("v1.4"), 6)))
    pictures = write_pairs(made, tmp_path, shown=4)
    listing = json.loads((tmp_path / "synthetic.json").read_text())
    assert [line["stage"] for line in listing] == [one.stage for one in made]
    for line, one in zip(listing, made, strict=True):
        assert (read_image(tmp_path / line["image"]) == one.image).all()
        assert (read_mask(tmp_path / line["mask"]) == one.mask).all()
        assert line["pixels"] == one.mask.sum()
    assert len(pictures) == 8
    plain, outlined = pictures[0][0], pictures[1][0]
    assert (plain == made[0].image).all()
    drawn = (plain != outlined).any(axis=2)
    assert drawn.any() and not (drawn & made[0].mask).all()


def test_grey_images_are_written_and_five_channels_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for channels in (1, 4):
        images = [rng.integers(0, 256, (40, 50, channels), dtype=np.uint8) for _ in range(2)]
        write_pairs(synthesize(images, orders(mixes("v1.1"), 3)), tmp_path / str(channels))
        with Image.open(next((tmp_path / str(channels) / "images").iterdir())) as written:
            assert len(written.getbands()) == channels
    five = [rng.integers(0, 256, (40, 50, 5), dtype=np.uint8) for _ in range(2)]
    with pytest.raises(InputError, match="5 channels"):
        write_pairs(synthesize(five, orders(mixes("v1.1"), 3)), tmp_path / "5")
