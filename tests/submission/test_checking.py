"""Every fault of a submission is named, all at once."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from anomalyvfm.submission import Target, benchmark_targets, check_submission, data_targets
from tests.submission.commands import run

MAP = "anomaly_images/can/test_private/007_regular.tiff"
MASK = "anomaly_images_thresholded/can/test_private/007_regular.png"


def write_map(path: Path, values: np.ndarray, **settings: Any) -> None:
    tifffile.imwrite(path, values, **{"photometric": "minisblack", "metadata": None, **settings})


def write_fake(root: Path, targets: Iterable[Target]) -> None:
    """A right submission of 8×8 pixels."""
    root.mkdir(exist_ok=True)
    write_map(root / "map.tiff", np.zeros((8, 8), np.float16))
    Image.new("L", (8, 8), 255).save(root / "mask.png")
    tiff, png = (root / "map.tiff").read_bytes(), (root / "mask.png").read_bytes()
    (root / "map.tiff").unlink()
    (root / "mask.png").unlink()
    for target in targets:
        for name, content in ((target.map, tiff), (target.mask, png)):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)


FEW = [target for target in benchmark_targets(["can"]) if int(target.stem[:3]) < 20]


@pytest.fixture
def can(tmp_path: Path) -> Path:
    """A submission of a few cans, to be spoiled."""
    root = tmp_path / "fake"
    write_fake(root, FEW)
    return root


def faults(root: Path) -> list[str]:
    return check_submission(root, FEW)


def test_a_submission_of_full_count_passes(tmp_path: Path) -> None:
    write_fake(tmp_path, benchmark_targets())
    counted = Counter(p.parent.relative_to(tmp_path).parts[1] for p in tmp_path.rglob("*.tiff"))
    assert counted == {
        "can": 642,
        "fabric": 628,
        "fruit_jelly": 510,
        "rice": 554,
        "sheet_metal": 284,
        "vial": 552,
        "wallplugs": 464,
        "walnuts": 456,
    }
    result = run("--check", tmp_path)
    assert result.exit_code == 0
    assert result.stdout == f"ok: 4090 maps and masks in {tmp_path}\n"


def test_lost_folders_and_files_are_named(submitted: Path, drawn: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(submitted, out)
    shutil.rmtree(out / "anomaly_images" / "fabric")
    shutil.rmtree(out / "anomaly_images_thresholded" / "sheet_metal" / "test_private_mixed")
    (out / "anomaly_images" / "sheet_metal" / "test_private" / "003_regular.tiff").unlink()
    (out / "anomaly_images_thresholded" / "fabric" / "test_private_mixed" / "004_mixed.png").touch()
    result = run("--check", out, "--data", drawn, "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {
        "ok": False,
        "faults": [
            "anomaly_images/fabric: all 8 files missing",
            "anomaly_images/sheet_metal/test_private/003_regular.tiff: missing",
            "anomaly_images_thresholded/fabric/test_private_mixed/004_mixed.png: stray file; nothing else may"
            " be in a submission",
            "anomaly_images_thresholded/sheet_metal/test_private_mixed: all 4 files missing",
        ],
    }


def test_an_empty_folder_lacks_everything_a_line_a_fault(tmp_path: Path) -> None:
    result = run("--check", tmp_path)
    assert result.exit_code == 2
    assert result.stdout.splitlines() == [
        "anomaly_images: all 4090 files missing",
        "anomaly_images_thresholded: all 4090 files missing",
    ]


def half(shape: tuple[int, ...], value: float = 0) -> np.ndarray:
    return np.full(shape, value, np.float16)


def with_seven() -> np.ndarray:
    values = np.zeros((8, 8), np.uint8)
    values[3, 4] = 7
    return values


SPOILS: list[tuple[Callable[[Path], object], str, str]] = [
    (lambda r: (r / MAP).unlink(), MAP, "missing"),
    (lambda r: (r / MASK).unlink(), MASK, "missing"),
    (lambda r: write_map(r / MAP, np.zeros((8, 8), np.float32)), MAP, "type float32; a map is float16"),
    (lambda r: write_map(r / MAP, np.zeros((8, 8), np.uint8)), MAP, "type uint8; a map is float16"),
    (lambda r: write_map(r / MAP, half((8, 8, 3)), photometric="rgb"), MAP, "3 channels; a map has one"),
    (lambda r: write_map(r / MAP, half((2, 8, 8))), MAP, "2 pages; a map is one"),
    (lambda r: write_map(r / MAP, half((8, 8), np.nan)), MAP, "64 values are NaN or infinite"),
    (lambda r: write_map(r / MAP, np.diag(half((8,), np.inf))[:8]), MAP, "NaN or infinite"),
    (lambda r: write_map(r / MAP, half((9, 8))), MASK, "8×8 pixels, but its map has 9×8"),
    (lambda r: (r / MAP).write_bytes(b""), MAP, "not a readable TIFF"),
    (lambda r: (r / MAP).write_bytes((r / MAP).read_bytes()[:-9]), MAP, "not a readable TIFF"),
    (lambda r: Image.fromarray(with_seven()).save(r / MASK), MASK, "value 7; only 0 and 255 are allowed"),
    (lambda r: Image.new("RGB", (8, 8)).save(r / MASK), MASK, "3 channels; a thresholded map is 8-bit grey"),
    (lambda r: Image.new("1", (8, 8)).save(r / MASK), MASK, "mode 1; a thresholded map is 8-bit grey"),
    (lambda r: Image.new("I;16", (8, 8)).save(r / MASK), MASK, "mode I;16; a thresholded map is 8-bit"),
    (lambda r: Image.new("L", (8, 8)).save(r / MASK, "BMP"), MASK, "not a readable PNG (not a PNG file)"),
    (lambda r: (r / MASK).write_bytes(b""), MASK, "not a readable PNG (not a PNG file)"),
    (lambda r: Image.new("L", (4, 8)).save(r / MASK), MASK, "8×4 pixels, but its map has 8×8"),
    (lambda r: (r / "README.md").touch(), "README.md", "stray file"),
    (lambda r: (r / "anomaly_images" / ".DS_Store").touch(), "anomaly_images/.DS_Store", "stray file"),
    (lambda r: (r / "anomaly_images" / "rice").mkdir(), "anomaly_images/rice", "stray folder"),
]


@pytest.mark.parametrize(("spoil", "name", "fault"), SPOILS)
def test_each_kind_of_fault_is_named(
    can: Path, spoil: Callable[[Path], object], name: str, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    spoil(can)
    (line,) = faults(can)
    assert line.startswith(f"{name}: ")
    assert fault in line
    assert capfd.readouterr() == ("", "")


def test_all_faults_are_named_at_once(can: Path) -> None:
    for number, (spoil, _, _) in enumerate(SPOILS[2:13]):
        single = can.parent / f"spoiled-{number}"
        write_fake(single, [target for target in FEW if target.stem == "007_regular"])
        spoil(single)
        for name in (MAP, MASK):
            shutil.copy(single / name, can / name.replace("007", f"{number:03}"))
    lines = faults(can)
    for number, (_, name, fault) in enumerate(SPOILS[2:13]):
        (line,) = [line for line in lines if line.startswith(name.replace("007", f"{number:03}"))]
        assert fault in line
    assert len(lines) == 11


def test_a_link_is_no_file_of_a_submission(can: Path) -> None:
    (can / MAP).unlink()
    (can / MAP).symlink_to(can / MAP.replace("007", "008"))
    lines = faults(can)
    assert f"{MAP}: a link or special file; put the file itself there" in lines


def test_a_name_with_a_line_break_stays_one_line(can: Path) -> None:
    (can / "a\nb").touch()
    (line,) = faults(can)
    assert "\n" not in line


def test_sizes_are_compared_with_the_images(submitted: Path, drawn: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(drawn, data)
    target = data_targets(data)[0]
    assert target.image is not None
    Image.new("RGB", (50, 40)).save(target.image)
    assert check_submission(submitted, data_targets(data)) == [
        f"{target.map}: 96×96 pixels, but the image has 40×50",
        f"{target.mask}: 96×96 pixels, but the image has 40×50",
    ]


def pack_by_hand(root: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for folder in sorted(p for p in root.iterdir()):
            tar.add(folder, f"./{folder.name}")
    return archive


def test_an_archive_is_checked_as_its_folder_is(can: Path) -> None:
    archive = pack_by_hand(can, can.parent / "right.tar.gz")
    assert faults(archive) == []
    Image.fromarray(with_seven()).save(can / MASK)
    (can / MAP).unlink()
    (can / "submission.json").touch()
    (can / "anomaly_images" / "rice" / "test_private").mkdir(parents=True)
    (can / "anomaly_images" / "rice" / "test_private" / "000_regular.tiff").touch()
    lines = faults(pack_by_hand(can, can.parent / "wrong.tar.gz"))
    # What `submit` keeps beside the two folders is right there, but not in the archive.
    assert lines == sorted([*faults(can), "submission.json: stray file; nothing else may be in a submission"])
    assert len(lines) == 4


def test_a_truncated_archive_and_one_with_a_folder_around_it_are_named(can: Path) -> None:
    archive = pack_by_hand(can, can.parent / "a.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-2000])
    assert any(line.startswith("a.tar.gz: truncated or damaged") for line in faults(archive))
    archive.write_bytes(b"no archive at all")
    assert any(line.startswith("a.tar.gz: truncated or damaged") for line in faults(archive))
    shutil.copytree(can, can.parent / "wrapped" / "mine")
    assert faults(pack_by_hand(can.parent / "wrapped", archive)) == [
        "anomaly_images: all 40 files missing",
        "anomaly_images_thresholded: all 40 files missing",
        "mine: stray folder; nothing else may be in a submission",
    ]
