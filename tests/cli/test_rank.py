"""`anomalyvfm rank`: tables, sheets and overlays of a batch, and one line for what cannot be ranked."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.commands import as_json, refused, run

SMALL = ("--backbone", "efficientnet-lite0", "--image-size", "96", "--device", "cpu")


@pytest.fixture
def batch(drawn: Path, tmp_path: Path) -> Path:
    """Twelve good parts, and two defective ones."""
    folder = tmp_path / "batch"
    folder.mkdir()
    parts = drawn / "fabric"
    for number, image in enumerate(sorted((parts / "train" / "good").iterdir())[:12]):
        shutil.copy(image, folder / f"good-{number:02}.png")
    for number, image in enumerate(sorted((parts / "test_public" / "bad").glob("*regular*"))[:2]):
        shutil.copy(image, folder / f"bad-{number}.png")
    return folder


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "ranking.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_image_has_its_line_the_oddest_first(batch: Path, tmp_path: Path) -> None:
    (batch / "broken.png").write_bytes(b"no image")
    said = as_json("rank", batch, "--out", tmp_path / "out", "--odd-share", "0.2", *SMALL)
    lines = rows(tmp_path / "out")
    assert [line["rank"] for line in lines] == [*map(str, range(1, 15)), ""]
    scores = [float(line["score"]) for line in lines[:14]]
    assert scores == sorted(scores, reverse=True) and abs(np.median(scores)) < 1
    assert lines[14]["path"] == str(batch / "broken.png") and "not a PNG" in lines[14]["error"]
    assert (said["images"], said["unreadable"], said["compared_with"]) == (15, 1, 14)
    assert [one["path"] for one in said["oddest"]] == [line["path"] for line in lines[:2]]
    for line in lines[:2]:
        with Image.open(tmp_path / "out" / line["map"]) as picture:
            assert picture.size == (96, 96)
    assert not any(line["map"] for line in lines[2:])
    with Image.open(tmp_path / "out" / "contact_sheet.jpg") as sheet:
        assert sheet.width > 1000


def test_maps_of_all_or_of_none(batch: Path, tmp_path: Path) -> None:
    (batch / "good-00.png").rename(batch / f"{'ä' * 120}.png")  # as long as a name may be
    run("rank", batch, "--out", tmp_path / "all", "--maps", "all", *SMALL)
    assert len(list((tmp_path / "all" / "maps").iterdir())) == 14
    said = run("rank", batch, "--out", tmp_path / "none", "--maps", "none", *SMALL).stdout
    assert not (tmp_path / "none" / "maps").exists()
    assert "14 images, 0 unreadable, each compared with 14 of them" in said


def test_the_order_is_the_same_whatever_the_order_of_the_images(batch: Path, tmp_path: Path) -> None:
    images = sorted(batch.iterdir())
    run("rank", *images, "--out", tmp_path / "one", *SMALL)
    run("rank", *images[::-1], "--out", tmp_path / "other", *SMALL)
    one, other = (
        {line["path"]: float(line["score"]) for line in rows(tmp_path / name)} for name in ("one", "other")
    )
    assert one == pytest.approx(other, abs=0.02)


def test_what_cannot_be_ranked_is_said_in_a_line(batch: Path, tmp_path: Path) -> None:
    only = batch / "good-00.png"
    said = refused("rank", only, "--out", tmp_path / "out", *SMALL)
    assert "1 image: nothing to compare; a batch takes 3 different images or more" in said
    shutil.copy(only, tmp_path / "copy.png")
    shutil.copy(only, tmp_path / "again.png")
    said = refused(
        "rank", only, tmp_path / "copy.png", tmp_path / "again.png", "--out", tmp_path / "out", *SMALL
    )
    assert "3 images: nothing to compare" in said
    (tmp_path / "x.png").write_bytes(b"nothing")
    said = refused("rank", only, tmp_path / "x.png", "--out", tmp_path / "out", *SMALL)
    assert "2 images, of which 1 cannot be read" in said
    assert not (tmp_path / "out").exists()


def test_what_a_region_leaves_out_makes_nothing_odd(batch: Path, tmp_path: Path) -> None:
    odd = batch / "good-03.png"
    with Image.open(odd) as image:
        pixels = np.asarray(image.convert("RGB")).copy()
    height, width = pixels.shape[:2]
    pixels[: height // 4, : width // 4] = (255, 0, 0)
    Image.fromarray(pixels).save(odd)
    counts = np.full((height, width), 255, np.uint8)
    counts[: height // 3, : width // 3] = 0
    Image.fromarray(counts).save(tmp_path / "roi.png")
    options = ("--maps", "all", *SMALL)
    whole = as_json("rank", batch, "--out", tmp_path / "whole", *options)
    assert whole["oddest"][0]["path"] == str(odd)
    inside = as_json("rank", batch, "--out", tmp_path / "inside", "--roi", tmp_path / "roi.png", *options)
    assert inside["oddest"][0]["path"] != str(odd)
    line = next(line for line in rows(tmp_path / "inside") if line["path"] == str(odd))
    with Image.open(tmp_path / "inside" / line["map"]) as picture:
        shown = np.asarray(picture.convert("RGB")).astype(int)
    corner = shown[: picture.height // 5, : picture.width // 5]
    assert np.abs(corner - (255, 0, 0)).max() < 40  # no heat over it


def test_a_region_of_another_size_is_refused(batch: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((50, 60), 255, np.uint8)).save(tmp_path / "roi.png")
    said = refused("rank", batch, "--out", tmp_path / "out", "--roi", tmp_path / "roi.png", *SMALL)
    assert "60" in said and "50" in said and not (tmp_path / "out").exists()
