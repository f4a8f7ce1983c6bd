from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyvfm.data.datasets.listing import condition, list_folders, list_images, natural_key, split_by_name

names = st.text(alphabet="aAbB019._-²é", min_size=1, max_size=8)


def test_images_are_in_natural_order_whatever_their_case(tmp_path: Path) -> None:
    ordered = [
        "1.png",
        "2.JPG",
        "a2.tif",
        "A10.TIFF",
        "b.jpeg",
        "C.bmp",
        "d.WebP",
        "part 9.png",
        "part 10.png",
    ]
    for name in reversed(ordered):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ordered


def test_only_visible_image_files_are_listed(tmp_path: Path) -> None:
    for name in (".hidden.png", "._shot.png", "notes.txt", "Thumbs.db", "a.gif", "seen.png"):
        (tmp_path / name).touch()
    for name in ("folder.png", "__MACOSX", ".git", "kept"):
        (tmp_path / name).mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["seen.png"]
    assert [path.name for path in list_folders(tmp_path)] == ["folder.png", "kept"]


def test_symlinks_are_followed_but_loops_and_dead_ends_are_harmless(tmp_path: Path) -> None:
    (tmp_path / "real.png").touch()
    (tmp_path / "link.png").symlink_to("real.png")
    (tmp_path / "dead.png").symlink_to("gone.png")
    (tmp_path / "self.png").symlink_to("self.png")
    (tmp_path / "up").symlink_to(tmp_path)
    assert [path.name for path in list_images(tmp_path)] == ["link.png", "real.png"]
    assert [path.name for path in list_folders(tmp_path)] == ["up"]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert list_images(tmp_path / "gone") == []


@settings(deadline=None)
@given(some=st.lists(names, unique=True))
def test_natural_order_is_total_and_ignores_the_order_given(some: list[str]) -> None:
    assert sorted(some, key=natural_key) == sorted(reversed(some), key=natural_key)
    folded = [natural_key(name)[0] for name in sorted(some, key=natural_key)]
    assert folded == sorted(folded)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("000_regular.png", "regular"),
        ("012_overexposed.png", "overexposed"),
        ("012_underexposed.png", "underexposed"),
        ("7_shift_3.png", "shift_3"),
        ("321_mixed.png", "mixed"),
        ("7_shift_4.png", None),
        ("regular.png", None),
        ("000_regular_2.png", None),
        ("exp1_num_10334.jpg", None),
    ],
)
def test_the_condition_is_read_from_names_of_mvtec_ad_2s_form(name: str, expected: str | None) -> None:
    assert condition(Path(name)) == expected


@settings(deadline=None)
@given(count=st.integers(0, 60), seed=st.integers(0, 5), share=st.floats(0, 1))
def test_a_split_keeps_order_loses_nothing_and_has_the_share_asked(
    count: int, seed: int, share: float
) -> None:
    paths = [Path(f"x/{number}.png") for number in range(count)]
    chosen, rest = split_by_name(paths, share, seed)
    assert sorted(chosen + rest, key=paths.index) == paths
    assert len(chosen) == round(share * count)
    for part in (chosen, rest):
        assert part == sorted(part, key=paths.index)


def test_a_split_depends_on_seed_and_names_alone() -> None:
    here = [Path(f"/here/{number}.png") for number in range(40)]
    there = [Path(f"/over/there/{number}.png") for number in range(40)]
    chosen = [path.name for path in split_by_name(here, 0.7, seed=3)[0]]
    assert [path.name for path in split_by_name(there[::-1], 0.7, seed=3)[0]][::-1] == chosen
    assert [path.name for path in split_by_name(here, 0.7, seed=4)[0]] != chosen
