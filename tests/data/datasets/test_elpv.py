from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from anomalyvfm.data.datasets import elpv, list_categories, open_dataset
from anomalyvfm.errors import InputError

ROWS = [
    (f"images/cell{number:04}.png", (0.0, 0.0, 1 / 3, 2 / 3, 1.0)[number % 5], ("mono", "poly")[number % 2])
    for number in range(100)
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    lines = "".join(f"{image}  {probability!r}\t{kind}\n" for image, probability, kind in ROWS)
    (folder / "labels.csv").write_text(lines + "\n")
    return folder


def test_each_technology_is_a_category(data: Path) -> None:
    assert list_categories(data) == ["elpv-mono", "elpv-poly"]
    with pytest.raises(InputError, match=r"several categories.*elpv-mono, elpv-poly"):
        open_dataset(data)
    assert open_dataset(data, "mono") == open_dataset(data, "elpv-mono")


def test_functional_cells_are_split_and_uncertain_ones_left_out(data: Path) -> None:
    category = open_dataset(data, "elpv-poly", seed=1)
    poly = {data / image: probability for image, probability, kind in ROWS if kind == "poly"}
    assert (category.name, category.layout) == ("elpv-poly", "elpv")
    assert len(category.train) == 14
    assert [(s.label, s.kind) for s in category.test] == [(0, "good")] * 6 + [(1, "defective")] * 10
    functional = {sample.path for sample in (*category.train, *category.test[:6])}
    assert functional == {path for path, probability in poly.items() if probability == 0}
    assert [s.path for s in category.test[6:]] == [
        path for path, probability in poly.items() if probability == 1
    ]
    assert open_dataset(data, "elpv-poly", seed=2).train != category.train


def test_labels_in_another_form_are_refused_with_the_line(data: Path) -> None:
    (data / "labels.csv").write_text("images/cell0001.png 0.0 mono\nimages/cell0002.png often mono\n")
    with pytest.raises(InputError, match=r"labels\.csv, line 2"):
        open_dataset(data, "mono")


def test_names_stand_for_the_installed_package(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elpv, "installed_folder", lambda: data)
    assert list_categories("elpv") == ["elpv-mono", "elpv-poly"]
    assert list_categories("elpv-poly") == ["elpv-poly"]
    assert open_dataset("elpv-poly") == open_dataset("elpv", "poly") == open_dataset(data, "elpv-poly")


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elpv, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'anomalyvfm\[demo\]'"):
        open_dataset("elpv-mono")


@pytest.mark.skipif(find_spec("elpv_dataset") is None, reason="needs the demo extra")
def test_the_real_package_is_found_without_importing_it() -> None:
    imported_before = "elpv_dataset" in sys.modules
    category = open_dataset("elpv-mono")
    # 588 functional and 313 defective cells, as the authors count them.
    assert len(category.train) == 412
    assert len(category.test) == 176 + 313
    assert all(sample.path.is_file() for sample in category.train[::50])
    assert ("elpv_dataset" in sys.modules) == imported_before
