from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from anomalyvfm.data import open_dataset
from anomalyvfm.data.generated import CATEGORIES, CONDITIONS, DEFECTS, draw_bad, draw_good, generate
from anomalyvfm.errors import InputError

EVERY_DEFECT = [(category, kind) for category in CATEGORIES for kind in DEFECTS[category]]
WHOLE_IMAGE = {("sheet_metal", "coarse_brushing"), ("foam", "coarse_pores")}


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def test_there_are_eight_categories_with_two_to_four_kinds_of_defect_each() -> None:
    assert len(CATEGORIES) == len(set(CATEGORIES)) == 8
    assert {"fabric", "sheet_metal", "can", "grains"} <= set(CATEGORIES)
    assert all(2 <= len(DEFECTS[category]) <= 4 for category in CATEGORIES)


@pytest.mark.parametrize("size", [33, 256])
@pytest.mark.parametrize(("category", "kind"), EVERY_DEFECT)
def test_the_mask_holds_every_pixel_the_defect_changed(category: str, kind: str, size: int) -> None:
    good = draw_good(category, size, rng(5))
    bad, mask, drawn = draw_bad(category, size, rng(5), kind=kind)
    assert drawn == kind
    assert good.shape == bad.shape == (size, size, 3)
    assert good.dtype == bad.dtype == np.uint8
    assert mask.shape == (size, size)
    assert mask.dtype == np.bool_
    assert mask.any()
    changed = (good != bad).any(axis=2)
    assert not changed[~mask].any()
    assert changed[mask].mean() > 0.7


@pytest.mark.parametrize("condition", [*CONDITIONS, "mixed"])
@pytest.mark.parametrize("category", CATEGORIES)
def test_light_moves_neither_the_product_nor_the_mask(category: str, condition: str) -> None:
    _, regular_mask, regular_kind = draw_bad(category, 96, rng(8))
    good = draw_good(category, 96, rng(8), condition)
    bad, mask, kind = draw_bad(category, 96, rng(8), condition)
    assert kind == regular_kind
    np.testing.assert_array_equal(mask, regular_mask)
    np.testing.assert_array_equal(good[~mask], bad[~mask])


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_condition_changes_the_light_as_its_name_says(category: str) -> None:
    shots = {name: draw_good(category, 96, rng(3), name).astype(float) for name in CONDITIONS}
    level = {name: shot.mean() for name, shot in shots.items()}
    warmth = {name: shot[..., 0].mean() / shot[..., 2].mean() for name, shot in shots.items()}
    assert level["underexposed"] < 0.6 * level["regular"]
    assert level["overexposed"] > 1.1 * level["regular"]
    assert warmth["shift_2"] < warmth["regular"] < warmth["shift_1"]


@pytest.mark.parametrize("category", CATEGORIES)
def test_good_images_differ_from_each_other_and_most_defects_are_small(category: str) -> None:
    first, second = (
        draw_good(category, 64, rng(0)).astype(float),
        draw_good(category, 64, rng(1)).astype(float),
    )
    assert np.abs(first - second).mean() > 2
    for kind in DEFECTS[category]:
        _, mask, _ = draw_bad(category, 128, rng(1), kind=kind)
        if (category, kind) in WHOLE_IMAGE:
            assert mask.all()
        else:
            assert mask.mean() < 0.2


@pytest.mark.parametrize(("category", "kind"), EVERY_DEFECT)
def test_a_defect_stands_out_from_the_sensor_noise(category: str, kind: str) -> None:
    good = draw_good(category, 256, rng(12)).astype(float)
    bad, mask, _ = draw_bad(category, 256, rng(12), kind=kind)
    difference = np.abs(good - bad).max(axis=2)[mask]
    assert np.quantile(difference, 0.9) > 8  # grey levels; the noise is the same in both


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_product_looks_the_same_at_every_size(category: str) -> None:
    large = Image.fromarray(draw_good(category, 256, rng(4))).resize((32, 32), Image.Resampling.BOX)
    small = Image.fromarray(draw_good(category, 128, rng(4))).resize((32, 32), Image.Resampling.BOX)
    other = Image.fromarray(draw_good(category, 128, rng(5))).resize((32, 32), Image.Resampling.BOX)

    def distance(a: Image.Image, b: Image.Image) -> float:
        return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).mean())

    assert distance(large, small) < 5
    assert distance(large, small) < distance(large, other)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("generated") / "data"
    generate(root, ["grains", "sheet_metal"], images=12, size=48, seed=3)
    return root


def test_the_layout_is_that_of_mvtec_ad_2(dataset: Path) -> None:
    for category in ("grains", "sheet_metal"):
        files = digests(dataset / category)
        expected = {"generated.json"} | {f"train/good/{index:03d}_regular.png" for index in range(12)}
        expected |= {f"validation/good/{index:03d}_regular.png" for index in range(4)}
        expected |= {f"test_private/{index:03d}_regular.png" for index in range(4)}
        expected |= {f"test_private_mixed/{index:03d}_mixed.png" for index in range(4)}
        for condition in CONDITIONS:
            expected |= {f"test_public/{label}/000_{condition}.png" for label in ("good", "bad")}
            expected.add(f"test_public/ground_truth/bad/000_{condition}_mask.png")
        assert set(files) == expected


def test_test_images_number_half_the_training_images(tmp_path: Path) -> None:
    counts = generate(tmp_path / "d", ["sheet_metal"], images=20, size=32)
    root = tmp_path / "d" / "sheet_metal"
    assert len(list((root / "test_public" / "good").iterdir())) == 10
    assert len(list((root / "test_public" / "bad").iterdir())) == 10
    assert counts == {"sheet_metal": len(digests(root))}


def test_drawings_are_not_taken_for_the_images_of_mvtec_wherever_they_are_moved(tmp_path: Path) -> None:
    generate(tmp_path / "d", ["can"], images=2, size=32)
    assert open_dataset(tmp_path / "d", "can").layout == "generated"
    assert open_dataset((tmp_path / "d" / "can").rename(tmp_path / "can")).layout == "generated"


def test_masks_are_black_and_white_and_as_large_as_their_images(dataset: Path) -> None:
    masks = sorted(dataset.glob("*/test_public/ground_truth/bad/*.png"))
    assert len(masks) == 2 * len(CONDITIONS)
    for path in masks:
        mask = pixels(path)
        assert mask.shape == (48, 48)
        assert set(np.unique(mask)) <= {0, 255}
        assert mask.any()
        image = path.parents[2] / "bad" / path.name.replace("_mask", "")
        assert pixels(image).shape == (48, 48, 3)


def test_no_two_images_are_the_same(dataset: Path) -> None:
    images = [
        digest
        for name, digest in digests(dataset).items()
        if name.endswith(".png") and "ground_truth" not in name
    ]
    assert len(images) == len(set(images))


def test_the_same_call_writes_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", ["grains", "sheet_metal"], images=12, size=48, seed=3)
    assert digests(tmp_path / "again") == digests(dataset)


def test_a_category_does_not_depend_on_the_others_nor_an_image_on_how_many_follow(
    dataset: Path, tmp_path: Path
) -> None:
    generate(tmp_path / "more", ["sheet_metal"], images=20, size=48, seed=3)
    more, fewer = digests(tmp_path / "more" / "sheet_metal"), digests(dataset / "sheet_metal")
    assert len(more) > len(fewer)
    assert {name: more[name] for name in fewer} == fewer


def test_another_seed_gives_other_images(dataset: Path, tmp_path: Path) -> None:
    generate(tmp_path / "other", ["sheet_metal"], images=1, size=48, seed=4)
    name = "sheet_metal/train/good/000_regular.png"
    assert digests(tmp_path / "other")[name] != digests(dataset)[name]


def test_progress_names_every_file(tmp_path: Path) -> None:
    seen: list[str] = []
    counts = generate(tmp_path / "d", ["foam"], images=1, size=32, progress=seen.append)
    assert sorted(seen) == sorted(digests(tmp_path / "d"))
    assert counts == {"foam": len(seen)}


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty") as caught:
        generate(tmp_path, ["foam"], images=1, size=32)
    assert str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.txt"]


def test_a_file_in_the_place_of_the_folder_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        generate(tmp_path / "file", ["foam"], images=1, size=32)


def test_an_unknown_category_names_the_nearest_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'fabric'"):
        generate(tmp_path / "d", ["foam", "fabrick"], images=1, size=32)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(("images", "size", "seed"), [(0, 64, 0), (1, 31, 0), (1, 64, -1)])
def test_numbers_out_of_range_are_input_errors_and_write_nothing(
    tmp_path: Path, images: int, size: int, seed: int
) -> None:
    with pytest.raises(InputError):
        generate(tmp_path / "d", ["foam"], images=images, size=size, seed=seed)
    assert not (tmp_path / "d").exists()


def test_unknown_light_and_unknown_defect_are_input_errors() -> None:
    with pytest.raises(InputError, match="overexposed"):
        draw_good("foam", 64, rng(0), "dusk")
    with pytest.raises(InputError, match="coarse_pores"):
        draw_bad("foam", 64, rng(0), kind="rust")
