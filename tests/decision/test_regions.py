"""Outlines of maps whose defects are known: their areas, and the range that must hold the truth."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from anomalyvfm.data.placing import Aspect, InputFrame
from anomalyvfm.decision.regions import _DIRECTIONS, _LINE, _closed, outlined
from anomalyvfm.decision.verdict import Verdict

CELL = (16.0, 16.0)
LEVELS = (2.5, 6.0)


def seen(defect: NDArray[np.bool_], peak: float = 20.0, cells: float = 1.0) -> NDArray[np.float32]:
    """A map of a defect as a backbone gives it: spread over ``cells`` cells around."""
    spread = ndimage.gaussian_filter(defect.astype(float), [cells * side for side in CELL])
    return np.asarray(peak * spread / spread.max(), np.float32)


def square(side: int, at: tuple[int, int] = (120, 120), size: int = 256) -> NDArray[np.bool_]:
    mask = np.zeros((size, size), np.bool_)
    mask[at[0] : at[0] + side, at[1] : at[1] + side] = True
    return mask


@pytest.mark.parametrize(("side", "most"), [(8, 14), (16, 4), (32, 1.5), (96, 1.5)])
def test_a_small_defects_area_is_not_that_of_its_halo(side: int, most: float) -> None:
    _, regions = outlined(seen(square(side, (80, 80))), *LEVELS, CELL)
    assert len(regions) == 1
    # At 30 % of the peak, whatever the size, it was 31, 8.2, 2.6 and 1.25 times.
    assert regions[0].area <= most * side**2
    assert regions[0].area_range is not None
    low, high = regions[0].area_range
    assert low <= side**2 <= high


def crack(step: tuple[int, int], gap: int, between: float) -> NDArray[np.float32]:
    """The map of a line through the middle, a patch wide, and of its value in a gap of so many pixels."""
    y, x = np.mgrid[:256, :256] - 128
    length = np.hypot(*step)
    along, across = (y * step[0] + x * step[1]) / length, (y * step[1] - x * step[0]) / length
    map_ = np.where((np.abs(across) <= 8) & (np.abs(along) <= 100), 20.0, 0.0)
    map_[(map_ > 0) & (np.abs(along) < gap / 2)] = between
    return map_.astype(np.float32)


@pytest.mark.parametrize("step", [(0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (2, 1), (1, -2), (2, -1)])
def test_a_thin_crack_stays_whole_whichever_way_it_runs(step: tuple[int, int]) -> None:
    mask, one = outlined(crack(step, 24, 2.0), *LEVELS, CELL)
    assert len(one) == 1 and mask[128, 128]
    assert mask.sum() <= 1.02 * (crack(step, 24, 2.0) > 0).sum()
    apart, two = outlined(crack(step, 24, 1.0), *LEVELS, CELL)
    assert len(two) == 2 and not apart[128, 128], "what lies between is not odd at all"
    assert len(outlined(crack(step, 80, 2.0), *LEVELS, CELL)[1]) == 2, "too far apart to be one"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(st.floats(2, 9), st.floats(2, 9)), st.floats(0.02, 0.4))
def test_gaps_are_closed_as_by_each_segment_alone(
    seed: int, patch: tuple[float, float], share: float
) -> None:
    """Against scipy's closing by every segment, where a point is a pixel."""
    rng = np.random.default_rng(seed)
    mask = rng.random((40, 50)) < share
    map_ = rng.random((40, 50)).astype(np.float32)
    expected = mask.copy()
    for y, x in _DIRECTIONS:
        count = round(1 / np.hypot(y / (_LINE * patch[0]), x / (_LINE * patch[1])))
        segment = np.zeros((2 * count * y + 1, 2 * count * abs(x) + 1), bool)
        for along in range(count + 1):
            segment[count * y + along * y, count * abs(x) + along * x] = True
        padded = np.pad(mask, 100)
        expected |= ndimage.binary_closing(padded, segment)[100:-100, 100:-100]
    found = _closed(mask, map_, 0.3, patch)
    least = [max(1, round(side / 4)) for side in patch]
    wanted = mask | (ndimage.binary_opening(expected, np.ones(least)) & (map_ > 0.3))
    np.testing.assert_array_equal(found, wanted)


def test_a_wide_defect_keeps_its_weaker_places() -> None:
    map_ = np.zeros((256, 256), np.float32)
    map_[32:224, 32:224] = 8
    map_[32:224, 32:80] = 20
    mask, (region,) = outlined(map_, *LEVELS, CELL)
    assert mask[32:224, 32:224].all()
    assert region.area == mask.sum() == 192 * 192
    assert region.bbox == (32, 32, 224, 224)
    assert region.area_range is not None  # one cell further in or out, the corners outside rounded
    assert region.area_range[0] == pytest.approx(160**2, rel=0.03)
    assert region.area_range[1] == pytest.approx(224**2, rel=0.03)


def test_the_largest_value_alone_does_not_make_a_region_of_the_rest() -> None:
    map_ = np.zeros((64, 64), np.float32)
    map_[4:8, 4:8], map_[40:44, 40:44] = 5, 20
    mask, regions = outlined(map_, *LEVELS, (4, 4))
    assert [region.peak_at for region in regions] == [(40, 40)]
    assert mask.sum() == 16


def test_what_is_nearly_as_odd_as_the_oddest_place_is_outlined_with_it() -> None:
    """As several defects of a kind are, of which few reach the level that no good image does."""
    map_ = np.zeros((64, 64), np.float32)
    map_[4:8, 4:8], map_[20:24, 20:24], map_[40:44, 40:44] = 4.2, 3.9, 5
    low, high = 2.0, 9.0
    for level in (high, 4.9):
        _, regions = outlined(map_, low, level, (4, 4))
        assert [region.peak_at for region in regions] == [(40, 40), (4, 4)]
    assert len(outlined(map_, low, 3.8, (4, 4))[1]) == 3


def test_where_nothing_is_a_defect_the_oddest_place_is_outlined() -> None:
    map_ = np.zeros((64, 64), np.float32)
    map_[4:8, 4:8], map_[40:44, 40:44] = 3, 4
    _, regions = outlined(map_, *LEVELS, (4, 4))
    assert [region.peak_at for region in regions] == [(40, 40)]
    assert outlined(np.zeros((64, 64), np.float32), *LEVELS, (4, 4))[1] == ()


def test_a_region_that_fills_the_image_has_no_outline_to_be_unsure_of() -> None:
    mask, (region,) = outlined(np.full((48, 80), 9, np.float32), *LEVELS, CELL)
    assert mask.all()
    assert region.area_range == (48 * 80, 48 * 80)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cell=st.tuples(st.floats(0.3, 40), st.floats(0.3, 40)))
def test_ranges_hold_areas_and_regions_partition_the_mask(seed: int, cell: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    map_ = ndimage.gaussian_filter(rng.normal(0, 40, (60, 90)), rng.uniform(0.5, 6)).astype(np.float32)
    mask, regions = outlined(map_, 2.0, 4.0, cell)
    assert sum(region.area for region in regions) == mask.sum()
    assert [r.peak for r in regions] == sorted((r.peak for r in regions), reverse=True)
    for region in regions:
        assert region.area_range is not None
        low, high = region.area_range
        assert 0 <= low <= region.area <= high <= map_.size
        assert map_[region.peak_at[1], region.peak_at[0]] == np.float32(region.peak)


def test_the_range_is_that_of_distances_to_the_outline() -> None:
    """Against every pixel's distance to the region, in cells, worked out one by one."""
    map_ = seen(square(20, (30, 44), 96), cells=0.5)
    cell = (6.1, 10.3)  # no distance is 1 but for rounding
    mask, (region,) = outlined(map_, *LEVELS, cell)
    inside = np.argwhere(mask) / cell
    outside = np.argwhere(~mask) / cell
    gaps = np.linalg.norm(inside[:, None] - outside[None], axis=2)
    assert region.area_range == ((gaps.min(1) > 1).sum(), mask.sum() + (gaps.min(0) <= 1).sum())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    grid=st.tuples(st.integers(2, 24), st.integers(2, 24)),
    size=st.tuples(st.integers(20, 150), st.integers(20, 150)),
    aspect=st.sampled_from(["stretch", "keep"]),
    odd=st.floats(0.5, 0.999),
)
def test_outlines_are_those_of_the_whole_map(
    seed: int, grid: tuple[int, int], size: tuple[int, int], aspect: Aspect, odd: float
) -> None:
    """A verdict looks at the part of the image that is odd; all of it, at once, is the reference."""
    values = np.random.default_rng(seed).lognormal(0, 1, grid).astype(np.float32)
    low = float(np.quantile(values, odd))
    frame = InputFrame(16 * grid[0], 16 * grid[1], aspect, patch=16)
    verdict = Verdict(
        score=9,
        p_value=0.01,
        anomalous=True,
        threshold=3,
        anomaly_map=values,
        size=size,
        frame=frame,
        low_threshold=low,
        high_threshold=1.5 * low,
        seconds=0,
        summary=np.zeros(1, np.float32),
    )
    mask, regions = outlined(verdict.map, low, 1.5 * low, frame.patch_size(grid, size))
    np.testing.assert_array_equal(verdict.mask, mask)
    assert [dataclasses.replace(one, peak=0) for one in verdict.regions] == [
        dataclasses.replace(one, peak=0) for one in regions
    ]
    assert [one.peak for one in verdict.regions] == pytest.approx([one.peak for one in regions], rel=1e-5)
