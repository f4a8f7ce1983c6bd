"""Kept images: parts of them, written down and read back, are what one pass keeps."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.extractor import Extracted, PlacedImage
from anomalyvfm.statistical.kept_images import KeptImages, sampled

NAMES = [f"part {number}" for number in range(12)]


def batch(first: int, count: int) -> Extracted:
    """Images ``first`` to ``first + count`` of a fixed dozen, every third under another light, too."""
    generator = torch.Generator().manual_seed(7)
    patches, coarse = (torch.randn(12, side, side, 6, generator=generator) for side in (4, 2))
    summaries, light = (torch.randn(12, width, generator=generator) for width in (5, 4))
    rows = list(range(first, first + count))
    features = PatchFeatures(
        patches[rows], summaries[rows], None, (PatchFeatures(coarse[rows], summaries[rows]),), light[rows]
    )
    augmented = [place for place, row in enumerate(rows) if row % 3 == 0]
    images = [PlacedImage(np.full((8, 8, 3), row, np.uint8), (), (8, 8)) for row in rows]
    seen = features.rows(augmented) if augmented else None
    return Extracted(list(rows), {}, images, features, 0.0, list(range(count)), augmented, seen)


def whole(path: Path) -> KeptImages:
    kept = KeptImages(path, sampled(12, 9, seed=3), sampled(12, 4, seed=3))
    kept.add(batch(0, 12), NAMES)
    return kept


@pytest.mark.parametrize("cuts", [(0, 12), (0, 5, 12), (0, 4, 8, 12), (0, 1, 2, 11, 12)])
def test_parts_that_were_written_down_are_together_what_one_pass_keeps(
    tmp_path: Path, cuts: tuple[int, ...]
) -> None:
    expected = whole(tmp_path / "whole")
    chosen, shown = sampled(12, 9, seed=3), sampled(12, 4, seed=3)
    joined = KeptImages(tmp_path / "joined", ())
    for number, (first, end) in enumerate(pairwise(cuts)):
        own, seen = (
            [position - first for position in positions if first <= position < end]
            for positions in (chosen, shown)
        )
        part = KeptImages(tmp_path / f"part{number}", own, seen)
        part.add(batch(first, end - first), NAMES[first:end])
        joined.extend(KeptImages.opened(tmp_path / f"part{number}", part.to_tensors(), "alike"))
    assert joined.keys == expected.keys
    assert joined.names == expected.names == [NAMES[position] for position in sorted(chosen)]
    assert {row: int(pixels[0, 0, 0]) for row, pixels in joined.pixels.items()} == {
        row: int(pixels[0, 0, 0]) for row, pixels in expected.pixels.items()
    }
    rows, cpu = [8, 0, 5], torch.device("cpu")
    mine, theirs = joined.store.take(rows, cpu), expected.store.take(rows, cpu)
    assert torch.equal(mine.patches, theirs.patches)
    assert torch.equal(mine.coarser[0].patches, theirs.coarser[0].patches)
    assert torch.equal(joined.store.light(), expected.store.light())
    for one, other in zip(joined.summaries(cpu), expected.summaries(cpu), strict=True):
        assert torch.equal(one, other)
    every = range(9)
    (places, changed), (same, unchanged) = (kept.augmented(every, cpu) for kept in (joined, expected))
    assert places == same and changed is not None and unchanged is not None
    assert torch.equal(changed.patches, unchanged.patches)
    assert joined.groups().tolist() == expected.groups().tolist()


def test_a_file_of_features_that_is_cut_short_is_named(tmp_path: Path) -> None:
    tensors = whole(tmp_path / "kept").to_tensors()
    file = tmp_path / "kept.1"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"kept\.1: truncated or missing"):
        KeptImages.opened(tmp_path / "kept", tensors, "alike")
