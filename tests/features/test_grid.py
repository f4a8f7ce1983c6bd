"""Cells, dimensions and the bound on the model's size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyvfm.features.grid import PatchGrid
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics

sides = st.integers(1, 60)


@settings(max_examples=100, deadline=None)
@given(height=sides, width=sides, channels=st.integers(1, 800), max_mb=st.floats(1, 125))
def test_the_stored_sums_stay_within_the_bound(height: int, width: int, channels: int, max_mb: float) -> None:
    grid = PatchGrid.within(height, width, channels, max_mb, None)
    d = grid.dimensions
    assert 1 <= d <= channels
    stored = grid.positions * (d * (d + 1) / 2 + d) + d * d
    assert 8 * stored <= max_mb * 1e6 or grid.positions == d == 1


def test_a_small_grid_keeps_every_position_and_channel() -> None:
    assert PatchGrid.within(16, 16, 192, 62.5, None) == PatchGrid(16, 16, 192, 1, 192)


def test_neighbours_in_a_fine_grid_share_positions_that_keep_every_channel() -> None:
    assert PatchGrid.within(32, 32, 192, 62.5, None) == PatchGrid(32, 32, 192, 2, 192)


def test_dinov2_base_at_518_px_keeps_its_positions_in_fewer_dimensions() -> None:
    grid = PatchGrid.within(37, 37, 768, 125.0, None)
    assert grid.step == 2
    assert 128 <= grid.dimensions < 768
    stored = SufficientStatistics(grid.positions, grid.dimensions).to_tensors()
    assert sum(t.numel() * t.element_size() for t in stored.values()) < 125e6


def test_a_tiled_frame_shares_cells_between_neighbours() -> None:
    grid = PatchGrid.within(256, 256, 152, 125.0, None)
    assert grid.step > 1
    assert grid.dimensions >= 96


@settings(max_examples=50, deadline=None)
@given(height=st.integers(1, 12), width=st.integers(1, 12), step=st.integers(1, 5), images=st.integers(1, 3))
def test_cells_and_maps_are_inverse(height: int, width: int, step: int, images: int) -> None:
    grid = PatchGrid(height, width, 1, step, 1)
    map_ = torch.arange(images * height * width, dtype=torch.float32).reshape(images, height, width)
    cells = grid.to_positions(map_[..., None])
    assert cells.shape == (grid.positions, images * step * step, 1)
    assert torch.equal(grid.to_map(cells[..., 0], images), map_)


def test_neighbours_that_share_a_cell_are_where_they_belong() -> None:
    grid = PatchGrid(4, 4, 1, 2, 1)
    cells = grid.to_positions(torch.arange(16.0).reshape(1, 4, 4, 1))
    assert cells[1, :, 0].tolist() == [2, 3, 6, 7]


def test_the_projection_is_orthonormal_and_the_same_every_time() -> None:
    grid = PatchGrid(2, 2, 40, 1, 12)
    projection = grid.projection()
    assert projection is not None
    torch.testing.assert_close(projection.T @ projection, torch.eye(12), atol=1e-6, rtol=0)
    again = grid.projection()
    assert again is not None
    assert torch.equal(projection, again)
    # The value other machines must find too: sums made with another projection could not be merged.
    assert projection.abs()[0, 0].item() == pytest.approx(1 / 40**0.5, rel=1e-5)


def test_nothing_is_projected_when_all_channels_are_kept() -> None:
    assert PatchGrid(2, 2, 5, 1, 5).projection() is None
