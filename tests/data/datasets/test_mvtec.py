from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalyvfm.data import ImageError, read_mask
from anomalyvfm.data.datasets import Category, Sample, list_categories, open_dataset
from anomalyvfm.errors import InputError

CONDITIONS = ("regular", "overexposed", "underexposed", "shift_1", "shift_2", "shift_3")


def touch(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def make_ad2(folder: Path) -> Path:
    touch(folder / "train/good", ["000_regular.png", "001_regular.png"])
    touch(folder / "validation/good", ["000_regular.png"])
    touch(folder / "test_public/good", [f"000_{name}.png" for name in CONDITIONS])
    touch(folder / "test_public/bad", [f"{number:03}_{name}.png" for number in (0, 1) for name in CONDITIONS])
    touch(folder / "test_public/ground_truth/bad", [f"000_{name}_mask.png" for name in CONDITIONS])
    touch(folder / "test_private", ["000_regular.png", "001_regular.png", "002_regular.png"])
    touch(folder / "test_private_mixed", ["000_mixed.png"])
    return folder


def make_ad(folder: Path) -> Path:
    touch(folder / "train/good", [f"{number:03}.png" for number in range(4)])
    touch(folder / "test/good", ["000.png", "001.png"])
    touch(folder / "test/crack", ["000.png", "001.png"])
    touch(folder / "test/Bent", ["000.png"])
    touch(folder / "ground_truth/crack", ["000_mask.png", "001_mask.png"])
    touch(folder / "ground_truth/Bent", ["000_mask.png"])
    touch(folder, ["readme.txt", "license.txt"])
    return folder


def relative(samples: Iterable[Sample], folder: Path) -> list[str]:
    return [sample.path.relative_to(folder).as_posix() for sample in samples]


class TestAd2:
    @pytest.fixture
    def category(self, tmp_path: Path) -> Category:
        return open_dataset(make_ad2(tmp_path / "can"))

    def test_all_five_splits_are_found(self, category: Category) -> None:
        assert (category.name, category.layout) == ("can", "mvtec_ad2")
        assert len(category.train) == 2
        assert len(category.validation) == 1
        assert len(category.test) == 6 + 12
        assert {name: len(samples) for name, samples in category.private.items()} == {
            "test_private": 3,
            "test_private_mixed": 1,
        }

    def test_labels_and_kinds_follow_the_folders(self, category: Category) -> None:
        assert {(sample.label, sample.kind) for sample in category.train + category.validation} == {
            (0, "good")
        }
        assert [(sample.label, sample.kind) for sample in category.test] == [(0, "good")] * 6 + [
            (1, "bad")
        ] * 12
        assert {(s.label, s.kind) for s in category.private["test_private"]} == {(None, "unknown")}

    def test_conditions_come_from_the_names(self, category: Category) -> None:
        assert [sample.condition for sample in category.test[:6]] == sorted(CONDITIONS)
        assert {sample.condition for sample in category.train} == {"regular"}
        assert category.private["test_private_mixed"][0].condition == "mixed"

    def test_each_defect_has_its_own_mask_and_a_missing_one_is_none(self, category: Category) -> None:
        assert all(sample.mask is None for sample in category.test[:6])
        for sample in category.test[6:]:
            if sample.path.name.startswith("000"):
                truth = sample.path.parents[1] / "ground_truth/bad"
                assert sample.mask == truth / f"{sample.path.stem}_mask.png"
            else:
                assert sample.mask is None

    def test_other_file_names_have_no_condition(self, tmp_path: Path) -> None:
        touch(tmp_path / "tile/train/good", ["exp1_num_10.jpg", "exp1_num_9.jpg"])
        touch(tmp_path / "tile/test_public/bad", ["crack_exp1_num_7.jpg"])
        touch(tmp_path / "tile/test_public/ground_truth/bad", ["crack_exp1_num_7_mask.png"])
        category = open_dataset(tmp_path / "tile")
        assert category.layout == "mvtec_ad2"
        assert [sample.path.name for sample in category.train] == ["exp1_num_9.jpg", "exp1_num_10.jpg"]
        assert {sample.condition for sample in category.train + category.test} == {None}
        assert category.test[0].mask is not None
        assert category.validation == ()
        assert category.private == {}

    def test_a_root_lists_its_categories_and_opens_the_one_named(self, tmp_path: Path) -> None:
        for name in ("vial", "can", "fruit_jelly"):
            make_ad2(tmp_path / name)
        touch(tmp_path, ["license.txt"])
        touch(tmp_path / "docs", ["a.pdf"])
        assert list_categories(tmp_path) == ["can", "fruit_jelly", "vial"]
        assert open_dataset(tmp_path, "vial") == open_dataset(tmp_path / "vial")


class TestAd:
    def test_kinds_are_in_order_after_good_with_their_own_masks(self, tmp_path: Path) -> None:
        folder = make_ad(tmp_path / "bottle")
        category = open_dataset(folder)
        assert (category.name, category.layout) == ("bottle", "mvtec_ad")
        assert len(category.train) == 4
        assert relative(category.test, folder / "test") == [
            "good/000.png",
            "good/001.png",
            "Bent/000.png",
            "crack/000.png",
            "crack/001.png",
        ]
        assert [sample.kind for sample in category.test] == ["good", "good", "Bent", "crack", "crack"]
        assert [sample.label for sample in category.test] == [0, 0, 1, 1, 1]
        assert category.test[2].mask == folder / "ground_truth/Bent/000_mask.png"
        assert category.test[4].mask == folder / "ground_truth/crack/001_mask.png"
        assert {sample.condition for sample in category.test} == {None}

    def test_a_root_with_one_category_needs_no_name(self, tmp_path: Path) -> None:
        make_ad(tmp_path / "bottle")
        assert open_dataset(tmp_path).name == "bottle"

    def test_no_good_images_is_an_error_that_names_the_place(self, tmp_path: Path) -> None:
        make_ad(tmp_path / "bottle")
        for path in (tmp_path / "bottle/train/good").iterdir():
            path.unlink()
        with pytest.raises(InputError, match="no good images to learn from in bottle"):
            open_dataset(tmp_path / "bottle")


class TestLoco:
    """Logical and structural defects, a folder of masks for each image, and good images to validate."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "breakfast_box"
        touch(folder / "train/good", [f"{number:03}.png" for number in range(4)])
        touch(folder / "validation/good", ["000.png", "001.png"])
        touch(folder / "test/good", ["000.png"])
        touch(folder / "test/logical_anomalies", ["000.png", "001.png"])
        touch(folder / "test/structural_anomalies", ["000.png"])
        touch(folder / "ground_truth/logical_anomalies/000", ["000.png", "001.png"])
        touch(folder / "ground_truth/logical_anomalies/001", ["000.png"])
        touch(folder / "ground_truth/structural_anomalies/000", ["000.png"])
        return folder

    def test_splits_and_masks(self, folder: Path) -> None:
        category = open_dataset(folder)
        assert category.layout == "mvtec_loco"
        assert [len(split) for split in (category.train, category.validation, category.test)] == [4, 2, 4]
        defects = [sample for sample in category.test if sample.label]
        truth = folder / "ground_truth"
        assert [sample.mask for sample in defects] == [
            truth / "logical_anomalies/000",
            truth / "logical_anomalies/001",
            truth / "structural_anomalies/000",
        ]

    def test_masks_of_a_folder_count_together(self, folder: Path) -> None:
        masks = folder / "ground_truth/logical_anomalies/000"
        for name, columns in (("000.png", slice(0, 2)), ("001.png", slice(5, 6))):
            pixels = np.zeros((4, 8), np.uint8)
            pixels[1, columns] = 255 if name == "000.png" else 254  # their value tells the kind of defect
            Image.fromarray(pixels).save(masks / name)
        whole = read_mask(masks)
        assert whole.sum() == 3
        assert whole[1].nonzero()[0].tolist() == [0, 1, 5]
        Image.new("L", (9, 4)).save(masks / "002.png")
        with pytest.raises(ImageError, match=r"002\.png: of another size than 000\.png"):
            read_mask(masks)

    def test_a_folder_without_masks_is_none(self, folder: Path) -> None:
        (folder / "ground_truth/structural_anomalies/000/000.png").unlink()
        assert open_dataset(folder).test[-1].mask is None


def test_nothing_is_decoded(tmp_path: Path) -> None:
    # Every file made here is empty: the first attempt to decode one would fail.
    assert open_dataset(make_ad2(tmp_path / "can")).train[0].path.stat().st_size == 0
