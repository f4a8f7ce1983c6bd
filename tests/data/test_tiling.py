from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyvfm.data.tiling import Tiling
from anomalyvfm.errors import InputError


@st.composite
def tilings(draw: st.DrawFn) -> Tiling:
    stride = draw(st.sampled_from([1, 2, 4]))
    height, width = (draw(st.integers(1, 24)) * stride for _ in range(2))
    cells = draw(st.integers(1, 16))
    overlap = draw(st.integers(0, cells - 1)) * stride
    return Tiling(height, width, cells * stride, overlap, stride)


def average_pool(tiles: torch.Tensor, stride: int) -> torch.Tensor:
    """(B, H, W, C) → (B, H/stride, W/stride, C): a backbone that sees no further than its cell."""
    pooled = torch.nn.functional.avg_pool2d(tiles.permute(0, 3, 1, 2), stride)
    return pooled.permute(0, 2, 3, 1)


@settings(deadline=None)
@given(tiling=tilings(), finer=st.booleans())
def test_stitching_what_was_cut_equals_the_whole_frame(tiling: Tiling, finer: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    batch = torch.rand((2, tiling.height, tiling.width, 3), generator=generator, dtype=torch.float64)
    # Joined backbone stages may report a grid finer than the stride their input must have.
    step = tiling.stride // 2 if finer and tiling.stride > 1 else tiling.stride
    stitched = tiling.stitch(average_pool(tiling.cut(batch), step))
    torch.testing.assert_close(stitched, average_pool(batch, step), rtol=0, atol=1e-12)


@settings(deadline=None)
@given(tiling=tilings(), level=st.floats(-100, 100, width=32))
def test_a_constant_field_stays_constant(tiling: Tiling, level: float) -> None:
    height, width = (side // tiling.stride for side in tiling.tile_size)
    features = torch.full((len(tiling.corners), height, width, 2), level)
    stitched = tiling.stitch(features)
    assert stitched.shape == (1, tiling.height // tiling.stride, tiling.width // tiling.stride, 2)
    torch.testing.assert_close(stitched, torch.full_like(stitched, level), rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(tiling=tilings())
def test_tiles_cover_the_frame_on_the_stride_with_the_overlap_asked(tiling: Tiling) -> None:
    tile_height, tile_width = tiling.tile_size
    covered = np.zeros((tiling.height, tiling.width), dtype=int)
    for top, left in tiling.corners:
        assert top % tiling.stride == 0 == left % tiling.stride
        covered[top : top + tile_height, left : left + tile_width] += 1
    assert covered.min() >= 1
    assert covered.sum() == len(tiling.corners) * tile_height * tile_width
    for starts, side in (
        (sorted({top for top, _ in tiling.corners}), tile_height),
        (sorted({left for _, left in tiling.corners}), tile_width),
    ):
        assert all(after - before <= side - tiling.overlap for before, after in pairwise(starts))


def test_neighbours_that_disagree_are_blended_without_a_step() -> None:
    tiling = Tiling(64, 16, 40, 16, 1)
    first, second = torch.zeros((1, 40, 16, 1)), torch.ones((1, 40, 16, 1))
    profile = tiling.stitch(torch.cat([first, second]))[0, :, 0, 0]
    steps = torch.diff(profile)
    assert profile[0] == 0
    assert profile[-1] == 1
    assert steps.min() >= 0
    assert steps.max() <= 1 / 16 + 1e-6


def test_tiles_of_one_image_are_adjacent_in_the_batch_in_numpy_and_torch() -> None:
    tiling = Tiling(8, 12, 4, 0, 4)
    batch = np.arange(2 * 8 * 12 * 3, dtype=np.uint8).reshape(2, 8, 12, 3)
    tiles = tiling.cut(batch)
    assert tiles.shape == (12, 4, 4, 3)
    np.testing.assert_array_equal(tiles[6 + 4], batch[1, 4:8, 4:8])
    np.testing.assert_array_equal(tiling.cut(torch.from_numpy(batch)).numpy(), tiles)


@pytest.mark.parametrize("tile", [0, 32, 50])
def test_a_frame_that_fits_one_tile_is_not_touched(tile: int) -> None:
    tiling = Tiling(32, 24, tile, 8, 4)
    batch = torch.rand(2, 32, 24, 3)
    assert tiling.cut(batch) is batch
    assert tiling.stitch(batch) is batch
    assert tiling.pool(batch) is batch


def test_the_tile_is_rounded_to_the_stride_and_no_longer_than_the_frame() -> None:
    assert Tiling(1036, 140, 512, 0, 14).tile_size == (518, 140)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back_in_half_precision(dtype: torch.dtype) -> None:
    tiling = Tiling(16, 16, 8, 4, 1)
    stitched = tiling.stitch(torch.full((len(tiling.corners), 8, 8, 3), 0.3, dtype=dtype))
    assert stitched.dtype == dtype
    assert (stitched == torch.tensor(0.3, dtype=dtype)).all()


def test_summaries_of_the_tiles_are_averaged_per_image() -> None:
    tiling = Tiling(8, 8, 4, 0, 4)
    summary = torch.arange(8.0)[:, None].expand(8, 5)
    torch.testing.assert_close(tiling.pool(summary), torch.tensor([1.5, 5.5])[:, None].expand(2, 5))


@pytest.mark.parametrize(
    ("height", "tile", "overlap"), [(30, 16, 0), (32, -4, 0), (32, 16, -1), (32, 16, 16), (32, 16, 13)]
)
def test_wrong_settings_are_refused(height: int, tile: int, overlap: int) -> None:
    with pytest.raises(InputError):
        Tiling(height, 32, tile, overlap, 4)


def test_features_on_a_grid_that_does_not_fit_are_refused() -> None:
    tiling = Tiling(16, 16, 8, 0, 4)
    with pytest.raises(ValueError, match="grid of 3 patches"):
        tiling.stitch(torch.zeros(4, 3, 3, 1))
