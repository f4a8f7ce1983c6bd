from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from anomalyvfm.data.datasets import Sample, open_dataset


def touch(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.fixture
def kinds(tmp_path: Path) -> Path:
    folder = tmp_path / "gears"
    touch(folder / "good", [f"g{number}.png" for number in range(20)])
    touch(folder / "scratch", ["s1.png", "s2.png", "s10.png"])
    touch(folder / "dent", ["d1.jpg"])
    return folder


def masks(samples: Iterable[Sample]) -> dict[str, str | None]:
    return {s.path.name: "/".join(s.mask.parts[-3:]) if s.mask else None for s in samples if s.label == 1}


def test_images_alone_are_all_good_and_all_learnt_from(tmp_path: Path) -> None:
    touch(tmp_path / "parts", ["b.png", "a10.png", "a9.png"])
    category = open_dataset(tmp_path / "parts")
    assert (category.name, category.layout) == ("parts", "folder")
    assert [sample.path.name for sample in category.train] == ["a9.png", "a10.png", "b.png"]
    assert {(sample.label, sample.kind) for sample in category.train} == {(0, "good")}
    assert category.test == category.validation == ()


def test_good_without_defects_is_all_learnt_from(tmp_path: Path) -> None:
    touch(tmp_path / "good", ["a.png", "b.png"])
    touch(tmp_path / "notes", ["a.txt"])
    assert len(open_dataset(tmp_path).train) == 2


def test_with_defects_good_is_split_and_the_defects_are_tested_on(kinds: Path) -> None:
    category = open_dataset(kinds)
    assert len(category.train) == 14
    assert [sample.label for sample in category.test] == [0] * 6 + [1] * 4
    assert [sample.path.name for sample in category.test[6:]] == ["d1.jpg", "s1.png", "s2.png", "s10.png"]
    assert [sample.kind for sample in category.test[6:]] == ["dent", "scratch", "scratch", "scratch"]
    held_out = {sample.path for sample in category.test[:6]}
    assert len(held_out | {sample.path for sample in category.train}) == 20


def test_the_split_follows_the_seed_and_moves_with_the_folder(kinds: Path, tmp_path: Path) -> None:
    def learnt(folder: Path, seed: int) -> list[str]:
        return [sample.path.name for sample in open_dataset(folder, seed=seed).train]

    moved = tmp_path / "elsewhere"
    shutil.copytree(kinds, moved)
    assert learnt(kinds, 1) == learnt(kinds, 1) == learnt(moved, 1)
    assert learnt(kinds, 1) != learnt(kinds, 2)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("ground_truth/scratch", "s1_mask.png"),
        ("ground_truth/scratch", "s1.tif"),
        ("masks/scratch", "s1.png"),
        ("masks", "s1_mask.png"),
        ("masks", "S1.PNG"),
        ("scratch", "s1_mask.bmp"),
    ],
)
def test_masks_are_found_by_name_wherever_they_may_lie(kinds: Path, place: str, name: str) -> None:
    touch(kinds / place, [name])
    category = open_dataset(kinds)
    expected = "/".join((kinds / place / name).parts[-3:])
    assert masks(category.test) == {"d1.jpg": None, "s1.png": expected, "s2.png": None, "s10.png": None}
    assert {sample.kind for sample in category.test} == {"good", "dent", "scratch"}


def test_a_mask_beside_its_image_is_not_an_image(tmp_path: Path) -> None:
    touch(tmp_path / "parts", ["a.png", "a_mask.png", "gas_mask.png"])
    assert [s.path.name for s in open_dataset(tmp_path / "parts").train] == ["a.png", "gas_mask.png"]


def test_a_loop_of_symlinks_is_harmless(kinds: Path) -> None:
    (kinds / "scratch" / "loop").symlink_to(kinds)
    (kinds / "good" / "loop").symlink_to("loop")
    assert len(open_dataset(kinds).test) == 10


@pytest.mark.parametrize(("good", "bad"), [("Good", "Bad"), ("OK", "NG"), ("ok", "defekt"), ("Normal", "x")])
def test_good_folders_go_by_their_usual_names(good: str, bad: str, tmp_path: Path) -> None:
    touch(tmp_path / "plain" / good, [f"{number}.png" for number in range(10)])
    touch(tmp_path / "plain" / bad, ["b.png"])
    category = open_dataset(tmp_path / "plain")
    assert len(category.train) == 7
    assert [sample.kind for sample in category.test if sample.label == 1] == [bad]
    touch(tmp_path / "mvtec" / "train" / good, ["a.png"])
    touch(tmp_path / "mvtec" / "test" / good, ["a.png"])
    touch(tmp_path / "mvtec" / "test" / bad, ["a.png"])
    category = open_dataset(tmp_path / "mvtec")
    assert [sample.label for sample in category.test] == [0, 1]
