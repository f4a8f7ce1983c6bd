from __future__ import annotations

from pathlib import Path

import pytest

from anomalyvfm.data.datasets import list_categories, open_dataset
from anomalyvfm.errors import InputError


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("can", "fabric", "walnuts"):
        touch(tmp_path / name / "train/good/000.png")
    return tmp_path


def refusal(path: Path | str, category: str | None = None) -> str:
    with pytest.raises(InputError) as raised:
        open_dataset(path, category)
    message = str(raised.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_several_categories_and_none_named_lists_them(root: Path) -> None:
    assert "can, fabric, walnuts" in refusal(root)


def test_a_category_that_is_not_there_suggests_the_nearest(root: Path) -> None:
    assert "did you mean walnuts?" in refusal(root, "Wallnut")
    assert "found can, fabric, walnuts" in refusal(root, "zebra")
    assert "no category 'fabric'" in refusal(root / "can", "fabric")


def test_naming_the_category_that_the_folder_is_opens_it(root: Path) -> None:
    assert open_dataset(root / "can", "can").name == "can"


def test_a_folder_that_is_no_dataset_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.gif", "LICENSE", "raw/x.png", "old/y.png"):
        touch(tmp_path / name)
    message = refusal(tmp_path)
    for looked_for in ("train/good/", "<category>/train/good/", "good/", ".png", "labels.csv"):
        assert looked_for in message
    assert "found folders old, raw and files 2 .txt" in message
    assert "1 .gif" in message
    with pytest.raises(InputError, match="no dataset"):
        list_categories(tmp_path)


def test_an_empty_folder_was_found_to_hold_nothing(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith("found nothing")


def test_an_empty_good_folder_has_nothing_to_learn_from(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    assert "no good images to learn from" in refusal(tmp_path)


def test_missing_paths_and_files_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "one.png")
    assert "no such folder" in refusal(tmp_path / "gone")
    assert "no such folder" in refusal("elpv-multi")
    assert "give the folder it is in" in refusal(tmp_path / "one.png")
    assert "cannot be opened" in refusal(str(tmp_path / ("x" * 5000)))


def test_the_current_folder_has_its_real_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "can")
    assert open_dataset(".").name == "can"
    assert list_categories("../fabric") == ["fabric"]
    monkeypatch.chdir(root / "can/train")
    assert open_dataset("..").name == "can"


def test_a_string_and_a_path_are_the_same(root: Path) -> None:
    assert open_dataset(str(root), "can") == open_dataset(root, "can")
