"""Pictures of reasons: of the right size, at the right place, and there for good images only as before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import label

from anomalyvfm.data import InputFrame
from anomalyvfm.decision.reason import Box, GoodPatch, LayerContribution, Reason
from anomalyvfm.decision.regions import Region
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.visual.overlay import border, draw, outline
from anomalyvfm.visual.panels import draw_sheet, pair, reason_lines

LAYERS = (LayerContribution(5, 0.7, "parts"), LayerContribution(4, 0.3, "patterns"))


def image(height: int, width: int) -> np.ndarray:
    """Red grows to the right, green downwards."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.linspace(0, 255, width).astype(np.uint8)
    picture[..., 1] = np.linspace(0, 255, height).astype(np.uint8)[:, None]
    return picture


def good_patch(bbox: Box, size: tuple[int, int], name: str = "good.png") -> GoodPatch:
    return GoodPatch(name, bbox, 0.5, size, image(96, 96))


def judged(size: tuple[int, int], nearest: GoodPatch | None, anomalous: bool = True) -> Verdict:
    grid = np.zeros((8, 8), np.float32)
    grid[2, 3] = 50
    return Verdict(
        score=9.0,
        p_value=0.01,
        anomalous=anomalous,
        threshold=2.0,
        anomaly_map=grid,
        size=size,
        frame=InputFrame(64, 64),
        low_threshold=2.0,
        high_threshold=5.0,
        seconds=0.0,
        summary=np.zeros(1, np.float32),
        pixels=image(64, 64),
        explain=lambda regions, _: [Reason(nearest, LAYERS) for _ in regions],
    )


@pytest.mark.parametrize("size", [(300, 400), (96, 96), (40, 700), (1500, 900)])
def test_the_overlay_stays_as_it_is_and_the_reasons_stand_beside_it(size: tuple[int, int]) -> None:
    verdict = judged(size, good_patch((0, 0, 20, 20), (200, 200)))
    sheet, overlay = draw_sheet(image(*size), verdict), draw(image(*size), verdict)
    height, width = overlay.shape[:2]
    assert sheet.shape[0] >= height
    assert sheet.shape[1] > width + 200
    changed = (sheet[:height, :width] != overlay).any(-1)
    assert 0 < changed.mean() < 0.2  # the number of the region
    assert (sheet[:, width:] != 255).any()


@pytest.mark.parametrize("size", [(96, 96), (300, 400), (12, 12)])
def test_a_good_image_is_drawn_with_its_verdict_below(size: tuple[int, int]) -> None:
    verdict = judged(size, good_patch((0, 0, 9, 9), size), anomalous=False)
    sheet, overlay = draw_sheet(image(*size), verdict), draw(image(*size), verdict)
    height, width = size
    np.testing.assert_array_equal(sheet[:height, :width], overlay)
    assert 30 < sheet.shape[0] - height < 70
    assert (sheet[:height, width:] == 255).all()
    # The scale: grey where heat starts, the lightest colour where it is full.
    scale = sheet[height:].reshape(-1, 3).astype(int)
    assert (np.abs(scale - (160, 160, 160)).max(1) <= 1).any()
    assert (np.abs(scale - (0.4 * 160 + 0.6 * np.array([252, 253, 191]))).max(1) <= 1).any()


def test_what_is_said_below_follows_the_verdict() -> None:
    found = judged((300, 400), None)
    sheets = [
        draw_sheet(image(300, 400), one)[300:, :300]
        for one in (
            found,
            replace(found, score=9.5),
            replace(found, threshold=2.5),
            replace(found, high_threshold=6.0),
            replace(found, low_threshold=2.5),
        )
    ]
    assert len({sheet.tobytes() for sheet in sheets}) == len(sheets)


def test_outlines_are_closed_where_a_region_reaches_the_border() -> None:
    mask = np.zeros((40, 60), np.bool_)
    mask[:10, 20:30] = True
    mask[30:, 50:] = True
    line = border(mask, 2)
    # Nothing outside can be reached from inside without crossing the line, the picture's rim included.
    padded = np.pad(mask & ~line, 1)
    ways, _ = label(np.pad(~line, 1, constant_values=True), np.ones((3, 3)))
    assert not (set(ways[padded]) & set(ways[np.pad(~mask & ~line, 1, constant_values=True)]))
    assert not (border(mask, 2, closed=False) & mask).any()


def test_both_squares_show_the_same_place_where_nothing_moved() -> None:
    verdict = judged((192, 192), None)
    region = verdict.regions[0]
    nearest = good_patch(region.bbox, (192, 192))
    region = Region(region.bbox, region.area, region.peak, region.peak_at, reason=Reason(nearest, LAYERS))
    shown = pair(image(192, 192), verdict, region, 100).astype(int)
    own, good = shown[:, :100], shown[:, -100:]
    assert np.abs(own - good).max() <= 4
    from_frame = pair(None, verdict, region, 100).astype(int)
    assert np.abs(from_frame[:, :100] - own).max() <= 8


def test_the_good_square_moves_as_the_box_does_whatever_the_images_size() -> None:
    verdict = judged((192, 192), None)
    found = verdict.regions[0]
    x0, y0, x1, y1 = found.bbox
    # A good image of twice the width, on which the place lies 40 of its pixels further right.
    nearest = good_patch((2 * x0 + 40, y0, 2 * x1 + 40, y1), (192, 384))
    region = Region(found.bbox, found.area, found.peak, found.peak_at, reason=Reason(nearest, LAYERS))
    shown = pair(image(192, 192), verdict, region, 100).astype(int)
    own, good = shown[:, :100], shown[:, -100:]
    gain = np.median(good[..., 1] / np.maximum(own[..., 1], 1))  # green is the same in both but for the light
    assert np.median(good[..., 0] / gain - own[..., 0]) == pytest.approx(255 * 20 / 192, abs=4)


def test_what_lies_beyond_the_good_image_is_grey() -> None:
    verdict = judged((192, 192), None)
    found = verdict.regions[0]
    nearest = good_patch((-90, -90, -50, -50), (192, 192))
    region = Region(found.bbox, found.area, found.peak, found.peak_at, reason=Reason(nearest, LAYERS))
    assert (pair(image(192, 192), verdict, region, 100)[0, -100] == (217, 222, 227)).all()


@pytest.mark.parametrize("name", ["零件 ü.png", "x" * 400, "a\nb\t.png", ""])
def test_any_name_can_be_written(name: str) -> None:
    size = (120, 120)
    plain, named = (
        draw_sheet(image(*size), judged(size, good_patch((0, 0, 9, 9), size, one))) for one in ("", name)
    )
    assert plain.shape == named.shape


def test_reasons_in_words() -> None:
    verdict = judged((96, 96), good_patch((0, 0, 9, 9), (96, 96)))
    assert reason_lines(verdict.regions[0]) == [
        "parts (layer 5) 70%, patterns (layer 4) 30%",
        "good.png, distance 0.50",
    ]
    assert reason_lines(judged((96, 96), None).regions[0]) == ["parts (layer 5) 70%, patterns (layer 4) 30%"]
    assert reason_lines(Region((0, 0, 1, 1), 1, 1.0)) == []


def test_regions_larger_than_any_window_are_shown_around_their_peak() -> None:
    verdict = judged((192, 192), None)
    wide = Region((0, 0, 192, 192), 192 * 192, 50.0, (150, 30))
    own = pair(image(192, 192), verdict, wide, 96)[:, :96]
    # A window of half the image around x 150, moved in from its border: its middle is at x 144, y 48.
    assert own[48, 48, 0] == pytest.approx(255 * 144 / 192, abs=5)
    assert own[48, 48, 1] == pytest.approx(255 * 48 / 192, abs=5)


@pytest.mark.parametrize("light", [0.5, 1.0, 2.0])
def test_the_nearest_good_patch_is_as_bright_as_the_part(light: float) -> None:
    patch = good_patch((60, 40, 100, 80), (192, 192))
    patch = replace(patch, picture=np.clip(patch.picture * light, 0, 255).astype(np.uint8))
    verdict = judged((192, 192), patch)
    region = verdict.regions[0]
    region = replace(region, reason=Reason(patch, LAYERS))
    shown = pair(image(192, 192), verdict, region, 100).astype(float)
    own, good = shown[:, :100], shown[:, -100:]
    assert good.mean() == pytest.approx(own.mean(), rel=0.25)


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_outlines_stand_out_on_black_grey_and_white(ground: int) -> None:
    picture = np.full((60, 60, 3), ground, np.uint8)
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    outline(picture, mask, 2)
    assert (picture[mask] == ground).all(), "nothing of the defect is hidden"
    drawn = {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()} - {(ground,) * 3}
    assert len(drawn) == 2
    luminance = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in drawn]
    assert max(abs(one - ground) for one in luminance) > 70

    clear = np.zeros((60, 60, 4), np.uint8)
    outline(clear, mask, 2)
    assert set(np.unique(clear[..., 3])) == {0, 255} and not clear[mask].any()
