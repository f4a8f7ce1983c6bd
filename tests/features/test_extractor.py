"""Files to features: exposure, tiles, broken sources, keys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.data import ImageSource, InputFrame
from anomalyvfm.data.generated import draw_good
from anomalyvfm.data.pixels import thrice
from anomalyvfm.data.sources import source_names
from anomalyvfm.data.views import standard_exposure
from anomalyvfm.features import backbones
from anomalyvfm.features.extractor import Extractor, stack_scales
from anomalyvfm.presets import ImageSettings


def part(seed: int = 0, size: int = 64) -> np.ndarray:
    return draw_good("gear", size, np.random.default_rng(seed))


def test_standard_exposure_gives_one_mean_and_contrast() -> None:
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(90, 20, (64, 64, 3)), 0, 255).astype(np.uint8)
    result = standard_exposure(image)
    assert result.mean() == pytest.approx(127, abs=1)
    assert result.std() == pytest.approx(48 * 20 / 24, rel=0.03)  # 4 grey levels bound the gain


@given(gain=st.floats(0.6, 1.3), offset=st.floats(-10, 20))
def test_standard_exposure_does_not_see_the_light(gain: float, offset: float) -> None:
    image = np.clip(np.random.default_rng(1).normal(110, 25, (48, 48, 3)), 20, 190)
    lit = np.clip(image * gain + offset, 0, 255)
    one, other = (standard_exposure(i.astype(np.uint8)).astype(float) for i in (image, lit))
    assert np.abs(one - other).mean() < 6
    assert np.abs(image - lit).mean() > 6 or abs(gain - 1) < 0.3


def test_exposure_is_that_of_the_formula_in_float64_for_colour_and_for_grey() -> None:
    image = np.random.default_rng(3).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    for pixels in (image, thrice(image[..., 0])):
        values = pixels.astype(np.float64)
        exact = np.clip((values - values.mean()) * (48 / (values.std() + 4)) + 127.5, 0, 255)
        # Cut off as the formula says; a value on the edge of a grey level may fall on either side.
        off = standard_exposure(pixels).astype(int) - np.floor(exact)
        assert (np.abs(off) <= (np.abs(exact - np.rint(exact)) < 1e-6)).all()


def test_colour_differences_survive() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0], image[:16, :, 1] = 200, 80
    result = standard_exposure(image).astype(int)
    assert (result[..., 0] > result[..., 1]).all()
    assert (result[:16, :, 1] > result[16:, :, 1]).all()


def test_a_uniform_image_gives_no_noise() -> None:
    image = np.full((32, 32, 3), 200, np.uint8)
    image[::2] += 1
    assert np.ptp(standard_exposure(image)) <= 12


def extractor(**settings: object) -> Extractor:
    backbone = backbones.load("efficientnet-lite0")
    return Extractor(backbone, InputFrame(64, 64), ImageSettings.model_validate(settings), batch=1)


@pytest.mark.parametrize(("side", "images"), [(64, 32), (256, 32), (384, 14), (512, 8), (1024, 8)])
def test_a_batch_has_more_of_smaller_images(side: int, images: int) -> None:
    backbone = backbones.load("efficientnet-lite0")
    assert Extractor(backbone, InputFrame(side, side), ImageSettings(), batch=8).batch == images


def test_broken_sources_keep_their_place_in_the_batch() -> None:
    sources: list[ImageSource] = [part(0), b"no image", part(1), np.zeros((2, 2)), part(2)]
    first, second = extractor().extract(sources)
    assert (list(first.broken), len(first.images), len(first.sources)) == ([1, 3], 2, 4)
    assert (list(second.broken), len(second.images), len(second.sources)) == ([], 1, 1)
    assert first.features is not None
    assert first.features.patches.shape[:3] == (2, 4, 4)


def test_a_batch_of_broken_sources_has_no_features() -> None:
    (only,) = extractor().extract([b"", b"x"])
    assert only.features is None
    assert list(only.broken) == [0, 1]


def test_keys_tell_pixels_apart_and_nothing_else() -> None:
    keys = [key for _, key in extractor().keys([part(0), part(0).copy(), part(1)])]
    assert keys[0] == keys[1] != keys[2]


def test_scales_of_different_grids_meet_on_the_finest() -> None:
    fine = torch.randn(2, 6, 8, 5)
    coarse = torch.full((2, 3, 4, 5), 7.0)
    stacked = stack_scales([coarse, fine])
    assert stacked.shape == (2, 6, 8, 2, 5)
    assert torch.equal(stacked[..., 1, :], fine)
    assert torch.equal(stacked[..., 0, :], torch.full_like(fine, 7.0))


@pytest.mark.parametrize("tile", [0, 64])
def test_detail_is_that_of_the_largest_scale_in_tiles_as_in_one(tile: int) -> None:
    backbone = backbones.load("efficientnet-lite0", detail=True)
    settings = ImageSettings(tile=tile, overlap=0.5)
    (batch,) = Extractor(backbone, InputFrame(128, 96), settings, 2, (1.0, 0.5)).extract([part(0), part(1)])
    assert batch.features is not None and batch.features.detail is not None
    assert batch.features.detail.shape == (2, 16, 12, backbone.detail_channels)
    assert batch.features.coarser[0].detail is None
    if not tile:
        views = [image.views[0] for image in batch.images]
        expected = backbone(torch.from_numpy(np.stack(views))).detail
        assert expected is not None
        torch.testing.assert_close(batch.features.detail, expected)


def test_an_image_seen_at_several_scales_has_a_feature_for_each() -> None:
    backbone = backbones.load("efficientnet-lite0")
    settings = ImageSettings()
    several = Extractor(backbone, InputFrame(128, 64), settings, batch=2, scales=(0.5, 1.0), stacked=True)
    (batch,) = several.extract([part(0, 128), part(1, 128)])
    assert batch.features is not None
    height, width = several.grid_shape
    assert batch.features.patches.shape == (2, height, width, 2, backbone.channels)
    assert batch.features.summary.shape == (2, 2, backbone.summary_channels)
    (alone,) = Extractor(backbone, InputFrame(128, 64), settings, batch=2).extract(
        [part(0, 128), part(1, 128)]
    )
    assert alone.features is not None
    torch.testing.assert_close(batch.features.patches[..., 1, :], alone.features.patches)
    torch.testing.assert_close(batch.features.summary[:, 1], alone.features.summary)


def test_positions_count_all_sources_broken_ones_too() -> None:
    sources: list[ImageSource] = [part(0), b"no image", part(1), b"none", b"none", part(2)]
    assert [batch.positions for batch in extractor().extract(sources)] == [[0, 2], [5]]


def test_sources_are_named_below_the_folder_that_holds_all(tmp_path: Path) -> None:
    folder = tmp_path / "good"
    assert source_names([folder / "a.png", str(folder / "b" / "c.png")]) == ["a.png", "b/c.png"]
    assert source_names([folder / "b" / "c.png"]) == ["c.png"]
    assert source_names([part(), b"x", folder / "a.png"]) == ["array 0", "file 1", "a.png"]
    assert source_names([]) == []
    assert source_names([folder / "bad\udcff.png"]) == ["bad\ufffd.png"]  # not in the system's encoding
    "".join(source_names([folder / "零件\udcff.png"])).encode()
