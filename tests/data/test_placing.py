from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anomalyvfm.data.pixels import plane_of, thrice, written_out
from anomalyvfm.data.placing import Aspect, InputFrame, choose_frame
from anomalyvfm.errors import InputError

ASPECTS: tuple[Aspect, ...] = get_args(Aspect)
sides = st.integers(8, 120)
sizes = st.tuples(sides, sides)


def blob(size: tuple[int, int], centre: tuple[float, float], sigma: float) -> NDArray[np.float64]:
    rows, columns = np.mgrid[: size[0], : size[1]]
    squares = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2
    return np.asarray(np.exp(-squares / (2 * sigma**2)))


def centroid(map_: NDArray[np.floating]) -> tuple[float, float]:
    rows, columns = np.mgrid[: map_.shape[0], : map_.shape[1]]
    return float((rows * map_).sum() / map_.sum()), float((columns * map_).sum() / map_.sum())


@settings(deadline=None)
@given(size=sizes, frame=sizes, aspect=st.sampled_from(ASPECTS))
def test_grey_is_placed_as_colour_is_from_one_plane(
    size: tuple[int, int], frame: tuple[int, int], aspect: Aspect
) -> None:
    plane = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    chosen = InputFrame(*frame, aspect)
    placed = chosen.place(thrice(plane))
    assert plane_of(placed).ndim == 2
    written = written_out(placed)
    assert written.flags.c_contiguous and written.flags.writeable and plane_of(written).ndim == 3
    np.testing.assert_array_equal(written, chosen.place(np.repeat(plane[:, :, None], 3, axis=2)))


@settings(deadline=None)
@given(size=sizes, grid=sizes, aspect=st.sampled_from(ASPECTS), odd=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_part_of_a_restored_map_holds_all_above_a_level(
    size: tuple[int, int], grid: tuple[int, int], aspect: Aspect, odd: float, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(size=grid).astype(np.float32)
    level = float(np.quantile(values, odd))
    frame = InputFrame(64, 80, aspect)
    whole = frame.restore(values, size)
    part = frame.part_above(values, size, level, (2, 3))
    np.testing.assert_allclose(frame.restore(values, size, part), whole[part], rtol=1e-5, atol=1e-5)
    outside = whole.copy()
    outside[part] = -np.inf
    assert outside.max() <= level + 1e-5


@settings(deadline=None)
@given(size=sizes, frame=sizes, aspect=st.sampled_from(ASPECTS))
@example(size=(8, 3000), frame=(14, 14), aspect="keep")
def test_place_fills_the_frame_with_the_images_own_colours(
    size: tuple[int, int], frame: tuple[int, int], aspect: Aspect
) -> None:
    image = np.random.default_rng(0).integers(40, 90, (*size, 3), dtype=np.uint8)
    placed = InputFrame(*frame, aspect).place(image)
    assert placed.shape == (*frame, 3)
    assert placed.dtype == np.uint8
    # A border of another colour, or ringing, would be seen as a defect.
    assert placed.min() >= image.min()
    assert placed.max() <= image.max()


def test_an_image_of_the_frames_size_is_left_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (28, 42, 3), dtype=np.uint8)
    for aspect in ASPECTS:
        np.testing.assert_array_equal(InputFrame(28, 42, aspect).place(image), image)


def test_shrinking_averages_fine_texture_instead_of_aliasing_it() -> None:
    image = np.zeros((640, 640, 3), dtype=np.uint8)
    image[:, ::2] = 200
    assert np.abs(InputFrame(90, 90).place(image).astype(int) - 100).max() <= 4


def test_keep_repeats_the_border_around_a_centred_image() -> None:
    image = np.zeros((40, 80, 3), dtype=np.uint8)
    image[0], image[-1] = 50, 250
    placed = InputFrame(80, 80, "keep").place(image)
    np.testing.assert_array_equal(placed[20:60], image)
    assert (placed[:20] == 50).all()
    assert (placed[60:] == 250).all()


def test_keep_does_not_distort_a_circle() -> None:
    image = np.repeat((blob((60, 150), (30, 75), 8) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    bright = np.argwhere(InputFrame(100, 100, "keep").place(image)[:, :, 0] > 128)
    height, width = np.ptp(bright, axis=0) + 1
    assert abs(int(height) - int(width)) <= 1


@settings(deadline=None)
@given(size=sizes, frame=sizes, aspect=st.sampled_from(ASPECTS), level=st.floats(-1e3, 1e3))
def test_restoring_a_constant_map_gives_that_constant_at_the_images_size(
    size: tuple[int, int], frame: tuple[int, int], aspect: Aspect, level: float
) -> None:
    restored = InputFrame(*frame, aspect).restore(np.full((7, 5), level, dtype=np.float32), size)
    assert restored.shape == size
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, np.float32(level), rtol=1e-5, atol=1e-5)


@settings(deadline=None)
@given(grid=st.tuples(st.integers(2, 20), st.integers(2, 20)), factor=st.integers(1, 9))
def test_upsampling_equals_torchs_bilinear_with_half_pixel_centres(
    grid: tuple[int, int], factor: int
) -> None:
    map_ = np.random.default_rng(0).normal(size=grid).astype(np.float32)
    size = (grid[0] * factor + 3, grid[1] * factor + 1)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(map_)[None, None].double(), size=size, mode="bilinear", align_corners=False
    )[0, 0]
    np.testing.assert_allclose(InputFrame(64, 64).restore(map_, size), expected.numpy(), atol=1e-5)


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(60, 200), st.integers(60, 200)),
    frame=st.tuples(st.integers(60, 160), st.integers(60, 160)),
    aspect=st.sampled_from(ASPECTS),
    across=st.floats(0.35, 0.65),
    down=st.floats(0.35, 0.65),
)
def test_a_spot_comes_back_where_it_was_within_a_pixel(
    size: tuple[int, int], frame: tuple[int, int], aspect: Aspect, across: float, down: float
) -> None:
    centre = (down * size[0], across * size[1])
    spot = blob(size, centre, sigma=min(size) / 15)
    image = np.repeat((spot * 255).round().astype(np.uint8)[:, :, None], 3, axis=2)
    fitted = InputFrame(*frame, aspect)
    restored = fitted.restore(fitted.place(image)[:, :, 0].astype(np.float32), size)
    np.testing.assert_allclose(centroid(restored), centroid(image[:, :, 0].astype(float)), atol=1)


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("size", [(90, 300), (300, 90)])
def test_a_coarse_grid_lands_on_the_right_place(aspect: Aspect, size: tuple[int, int]) -> None:
    image = np.repeat((blob(size, (45, 60), 9) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    frame = InputFrame(160, 160, aspect)
    # A backbone of stride 4 that reports the mean brightness of each cell.
    grid = frame.place(image)[:, :, 0].reshape(40, 4, 40, 4).mean(axis=(1, 3), dtype=np.float32)
    np.testing.assert_allclose(centroid(frame.restore(grid, size)), (45, 60), atol=1)


@settings(deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 4000), st.integers(1, 4000)), min_size=1, max_size=9),
    image_size=st.integers(1, 1500),
    multiple=st.integers(1, 32),
    aspect=st.sampled_from(ASPECTS),
)
def test_the_frame_is_made_of_whole_multiples_and_near_the_size_asked(
    shapes: list[tuple[int, int]], image_size: int, multiple: int, aspect: Aspect
) -> None:
    frame = choose_frame(shapes, image_size, multiple, aspect)
    assert frame.height % multiple == 0 < frame.height
    assert frame.width % multiple == 0 < frame.width
    ratio = 1.0 if aspect == "stretch" else float(np.exp(np.median([math.log(h / w) for h, w in shapes])))
    for side, wanted in ((frame.height, ratio**0.5), (frame.width, ratio**-0.5)):
        assert abs(side - max(multiple, image_size * wanted)) <= multiple / 2 + 1e-6


def test_stretch_is_a_square_and_needs_no_sizes() -> None:
    assert choose_frame([], 518, 14) == InputFrame(518, 518, "stretch")
    assert choose_frame([], 500, 16) == InputFrame(496, 496, "stretch")


def test_keep_follows_the_median_image() -> None:
    assert choose_frame([(100, 400), (100, 400), (5000, 10)], 256, 16, "keep") == InputFrame(128, 512, "keep")


@pytest.mark.parametrize(
    "make",
    [
        lambda: InputFrame(0, 14),
        lambda: InputFrame(14, 14, "squash"),  # type: ignore[arg-type]  # the mistake under test
        lambda: choose_frame([], 256, 16, "keep"),
        lambda: choose_frame([(1, 1)], 0, 16),
        lambda: choose_frame([(1, 1)], 256, 16, "crop"),  # type: ignore[arg-type]  # the mistake under test
    ],
)
def test_wrong_settings_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(InputError):
        make()


@given(
    size=st.tuples(st.integers(8, 500), st.integers(8, 500)),
    aspect=st.sampled_from(["stretch", "keep"]),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_positions_go_to_the_frame_and_back(
    size: tuple[int, int], aspect: Aspect, at: tuple[float, float]
) -> None:
    frame = InputFrame(96, 128, aspect)
    points = np.array(at) * (size[1], size[0])
    placed = frame.to_frame(points, size)
    assert (placed >= 0).all()
    assert (placed <= np.array((128, 96)) + 1e-9).all()
    np.testing.assert_allclose(frame.from_frame(placed, size), points, atol=1e-9)


@pytest.mark.parametrize(("patch", "sides"), [(None, (8.0, 4.0)), (16, (16.0, 8.0))])
def test_a_patch_is_what_the_backbone_tells_apart_however_fine_the_map(
    patch: int | None, sides: tuple[float, float]
) -> None:
    assert InputFrame(64, 128, patch=patch).patch_size((8, 16), (64, 64)) == sides


def test_positions_follow_what_is_placed() -> None:
    image = np.zeros((100, 50, 3), np.uint8)
    image[60:64, 30:34] = 255
    for frame in (InputFrame(96, 128), InputFrame(96, 128, "keep")):
        bright = np.argwhere(frame.place(image)[..., 0] > 127).mean(0) + 0.5
        np.testing.assert_allclose(frame.to_frame(np.array([32.0, 62.0]), (100, 50))[::-1], bright, atol=0.6)


@pytest.mark.parametrize(
    ("sizes", "aspect", "frame"),
    [
        ([(200, 5000)], "keep", (48, 1280)),
        ([(5000, 200)], "keep", (1280, 48)),
        ([(480, 640)], "stretch", (256, 256)),
        ([(300, 620), (300, 590), (300, 601)], "keep", (176, 368)),
        ([], "stretch", (256, 256)),
    ],
)
def test_auto_keeps_the_shape_of_long_parts(
    sizes: list[tuple[int, int]], aspect: str, frame: tuple[int, int]
) -> None:
    assert choose_frame(sizes, 256, 16, "auto") == InputFrame(*frame, aspect)  # type: ignore[arg-type]


@pytest.mark.parametrize(("aspect", "kept"), [("auto", "stretch"), ("stretch", "stretch"), ("keep", "keep")])
def test_a_rectangle_is_taken_as_asked(aspect: str, kept: str) -> None:
    frame = choose_frame([(100, 100)], (512, 130), 16, aspect)  # type: ignore[arg-type]
    assert frame == InputFrame(128, 512, kept)  # type: ignore[arg-type]
