"""The three stages, one defect at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.errors import InputError
from anomalyvfm.synthesis import contextual, structural, texture
from anomalyvfm.synthesis.patch import Image8, Mask, draw_patch
from anomalyvfm.synthesis.structural import KINDS as STRUCTURES
from anomalyvfm.synthesis.texture import KINDS as TEXTURES

Stage = Callable[[Image8, np.random.Generator, float], tuple[Image8, Mask]]


def _pasted(image: Image8, rng: np.random.Generator, severity: float) -> tuple[Image8, Mask]:
    return contextual(image, rng, severity, donor=_noise(image.shape, rng))


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> Image8:
    return rng.integers(0, 256, shape, dtype=np.uint8)


STAGES: dict[str, Stage] = {
    "texture": lambda image, rng, severity: texture(image, rng, severity, TEXTURES),
    "structural": lambda image, rng, severity: structural(image, rng, severity, STRUCTURES),
    "contextual": _pasted,
}
SIZES = st.tuples(st.integers(31, 90), st.integers(31, 90), st.integers(1, 5))


@pytest.mark.parametrize("stage", STAGES)
@given(size=SIZES, seed=st.integers(0, 2**32), severity=st.floats(0.05, 1.0))
def test_the_mask_holds_exactly_the_pixels_that_changed(
    stage: str, size: tuple[int, int, int], seed: int, severity: float
) -> None:
    image = _noise(size, np.random.default_rng(seed))
    before = image.copy()
    defective, mask = STAGES[stage](image, np.random.default_rng(seed), severity)
    assert (image == before).all()
    assert defective.shape == size and defective.dtype == np.uint8
    assert mask.shape == size[:2] and mask.dtype == np.bool_
    assert ((defective != image).any(axis=2) == mask).all()
    rows, columns = np.nonzero(mask)
    if len(rows):
        longest = round(200 * min(size[:2]) / 518)
        assert max(np.ptp(rows), np.ptp(columns)) < longest


@pytest.mark.parametrize("stage", STAGES)
def test_the_same_seed_gives_the_same_defect_and_another_seed_another(stage: str) -> None:
    image = _noise((64, 80, 3), np.random.default_rng(0))
    made = [STAGES[stage](image, np.random.default_rng(seed), 1.0)[0] for seed in (1, 1, 2)]
    assert (made[0] == made[1]).all()
    assert (made[0] != made[2]).any()


@given(size=st.tuples(st.integers(31, 3000), st.integers(31, 3000)), seed=st.integers(0, 1000))
def test_patches_lie_inside_and_their_sides_scale_with_the_image(size: tuple[int, int], seed: int) -> None:
    patch = draw_patch(size, np.random.default_rng(seed))
    scale = min(size) / 518
    for side, start, whole in ((patch.height, patch.top, size[0]), (patch.width, patch.left, size[1])):
        assert round(50 * scale) <= side <= round(200 * scale)
        assert start >= 0 and start + side <= whole


def test_noise_has_thirty_grey_levels_and_severity_scales_it() -> None:
    image = np.full((518, 518, 1), 128, np.uint8)
    for severity in (1.0, 0.4):
        defective, mask = texture(image, np.random.default_rng(3), severity)
        spread = (defective.astype(float) - image)[mask].std()
        # Pixels that drew a zero are not in the mask, which raises the deviation of the others slightly.
        assert spread == pytest.approx(30 * severity, rel=0.08)


@pytest.mark.parametrize("stage", STAGES)
def test_a_grey_image_stays_grey(stage: str) -> None:
    grey = np.repeat(_noise((100, 100, 1), np.random.default_rng(0)), 3, axis=2)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        defective = (
            contextual(grey, rng, donor=grey)[0]
            if stage == "contextual"
            else STAGES[stage](grey, rng, 1.0)[0]
        )
        assert (defective == defective[..., :1]).all()


@pytest.mark.parametrize("kind", TEXTURES)
def test_each_texture_kind_does_what_its_name_says(kind: str) -> None:
    image = _noise((300, 300, 3), np.random.default_rng(0)) // 2 + 60
    defective, mask = texture(image, np.random.default_rng(1), kinds=(kind,))
    inside = defective[mask].astype(float)
    if kind == "salt-and-pepper":
        assert set(np.unique(inside)) == {0.0, 255.0}
        assert 0.3 < (inside == 255).mean() < 0.7
    elif kind == "blur":
        assert inside.std() < 0.5 * image[mask].std()
    else:
        assert inside.std() > image[mask].std()


@pytest.mark.parametrize("kind", STRUCTURES)
def test_each_shape_is_filled_with_one_colour_and_has_its_form(kind: str) -> None:
    image = np.full((518, 518, 3), (90, 120, 60), np.uint8)
    for seed in range(8):
        defective, mask = structural(image, np.random.default_rng(seed), kinds=(kind,))
        colours = np.unique(defective[mask], axis=0)
        assert len(colours) == 1
        assert np.abs(colours[0] - image[0, 0].astype(float)).mean() >= 39
        rows, columns = np.nonzero(mask)
        box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        filled = len(rows) / box
        if kind == "rectangle":
            assert filled == 1
        elif kind == "circle":
            assert abs(int(np.ptp(rows)) - int(np.ptp(columns))) <= 1
            assert filled == pytest.approx(np.pi / 4, abs=0.03)
        elif kind == "line":
            assert len(rows) / max(np.ptp(rows) + 1, np.ptp(columns) + 1) < 20
        else:
            assert 0.15 < filled < 0.95


def test_polygons_are_irregular_and_lie_in_one_piece() -> None:
    from scipy.ndimage import label

    image = np.full((518, 518, 1), 100, np.uint8)
    shares = []
    for seed in range(10):
        _, mask = structural(image, np.random.default_rng(seed), kinds=("polygon",))
        assert label(mask, np.ones((3, 3)))[1] == 1
        shares.append(mask[np.ix_(mask.any(1), mask.any(0))].mean())
    assert np.ptp(shares) > 0.1


def test_the_pasted_patch_is_blended_with_an_opacity_of_60_to_80_percent() -> None:
    image, donor = np.full((518, 518, 1), 0, np.uint8), np.full((518, 400, 1), 200, np.uint8)
    levels = []
    for seed in range(30):
        defective, mask = contextual(image, np.random.default_rng(seed), donor=donor)
        (level,) = np.unique(defective[mask])
        levels.append(level / 200)
    assert 0.597 <= min(levels) < 0.65 and 0.75 < max(levels) <= 0.803
    faint, mask = contextual(image, np.random.default_rng(0), 0.5, donor=donor)
    assert faint.max() / 200 == pytest.approx(levels[0] / 2, abs=0.01)


def test_a_place_where_pasting_changes_little_is_avoided() -> None:
    image = np.zeros((518, 518, 1), np.uint8)
    donor = np.zeros((518, 518, 1), np.uint8)
    donor[:, 300:] = 200
    for seed in range(10):
        assert contextual(image, np.random.default_rng(seed), donor=donor)[1].any()


@pytest.mark.parametrize("stage", STAGES)
def test_an_image_too_small_for_a_patch_is_refused_in_one_line(stage: str) -> None:
    with pytest.raises(InputError, match=r"24×400 px is too small .* at least 26×26 px") as caught:
        STAGES[stage](np.zeros((24, 400, 3), np.uint8), np.random.default_rng(0), 1.0)
    assert "\n" not in str(caught.value)


def test_donors_that_do_not_fit_are_refused() -> None:
    image = np.zeros((518, 518, 3), np.uint8)
    with pytest.raises(InputError, match="cannot be cut from an image of 30×30 px"):
        contextual(image, np.random.default_rng(0), donor=np.zeros((30, 30, 3), np.uint8))
    with pytest.raises(InputError, match="1 channels cannot be pasted into one of 3"):
        contextual(image, np.random.default_rng(0), donor=np.zeros((518, 518, 1), np.uint8))


@pytest.mark.parametrize("severity", [0.0, -1.0, 1.5, float("nan")])
def test_severity_outside_its_bounds_is_refused(severity: float) -> None:
    with pytest.raises(InputError, match="severity"):
        texture(np.zeros((64, 64, 3), np.uint8), np.random.default_rng(0), severity)
