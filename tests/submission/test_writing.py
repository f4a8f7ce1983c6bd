"""The benchmark archive: written whole, and continued after a kill."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import tifffile
from PIL import Image

from anomalyvfm.data import InputFrame
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.detector import Detector
from anomalyvfm.submission import Target, data_targets
from anomalyvfm.submission.preparing import find_models
from anomalyvfm.submission.writing import _write_image, write_submission
from tests.submission.commands import contents, modified, refused, run

T = TypeVar("T")


def test_every_private_image_has_the_detectors_map_and_mask(
    submitted: Path, fitted: Path, drawn: Path
) -> None:
    assert run("--check", submitted, "--data", drawn).exit_code == 0
    targets = [target for target in data_targets(drawn) if target.category == "sheet_metal"]
    images = [target.image for target in targets if target.image is not None]
    assert {(t.split, t.stem) for t in targets} >= {
        ("test_private", "000_regular"),
        ("test_private_mixed", "000_mixed"),
    }
    marked = 0
    for target, verdict in zip(
        targets, Detector.load(fitted / "one", device="cpu").predict(images), strict=True
    ):
        map_ = tifffile.imread(submitted / target.map)
        assert map_.dtype == np.float16
        np.testing.assert_array_equal(map_, verdict.map.astype(np.float16))
        mask = np.asarray(Image.open(submitted / target.mask))
        np.testing.assert_array_equal(mask, np.where(verdict.mask, 255, 0))
        marked += bool(mask.any())
    assert 0 < marked < len(targets)


def test_maps_have_the_images_own_size_and_masks_too(fitted: Path, drawn: Path, tmp_path: Path) -> None:
    data = tmp_path / "fabric"
    shutil.copytree(drawn / "fabric", data)
    wide = next((data / "test_private").iterdir())
    Image.open(wide).resize((130, 40)).save(wide)
    assert run(fitted / "two", data, "--out", tmp_path / "out", "--device", "cpu").exit_code == 0
    name = f"fabric/test_private/{wide.stem}"
    assert tifffile.imread(tmp_path / "out" / "anomaly_images" / f"{name}.tiff").shape == (40, 130)
    with Image.open(tmp_path / "out" / "anomaly_images_thresholded" / f"{name}.png") as mask:
        assert mask.size == (130, 40)


def test_the_archive_unpacks_to_the_two_folders_and_nothing_else(submitted: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "xzf", submitted / "submission.tar.gz", "-C", tmp_path], check=True)
    unpacked = contents(tmp_path)
    kept = contents(submitted)
    assert set(kept) - set(unpacked) == {"submission.json", "submission.tar.gz"}
    assert unpacked == {name: kept[name] for name in unpacked}
    with tarfile.open(submitted / "submission.tar.gz") as tar:  # another reader of gzip and tar
        members = tar.getmembers()
    assert [m.name for m in members] == sorted(unpacked)
    assert {(m.uid, m.gid, m.uname, m.gname, m.mode, m.mtime) for m in members} == {
        (0, 0, "", "", 0o644, 315532800)
    }


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


@dataclass
class Killing:
    """A tracker that ends the run when so many images of the second category are written."""

    after: int

    def __call__(self, items: Iterable[T], total: int, description: str) -> Iterable[T]:
        for count, item in enumerate(items, 1):
            yield item
            if description == "sheet_metal" and count == self.after:
                raise Killed


def test_a_killed_run_is_continued_without_redoing_and_gives_the_same_bytes(
    fitted: Path, drawn: Path, submitted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    targets = data_targets(drawn)
    models = find_models(fitted, ["fabric", "sheet_metal"])
    with pytest.raises(Killed):
        write_submission(models, targets, out, device="cpu", track=Killing(after=4))
    assert not (out / "submission.tar.gz").exists()
    # As if the kill had come between the two files of an image, and amid a third.
    done = [t for t in targets if (out / t.map).is_file()]
    assert len(done) < len(targets)
    (out / done[-1].map).rename(out / f"{Path(done[-1].map).parent}/.{done[-1].stem}.tiff.partial")
    before = modified(out)
    finished = {name for t in done[:-1] for name in (t.map, t.mask)}
    written = write_submission(models, targets, out, device="cpu")
    assert written.judged == len(targets) - len(done) + 1
    after = modified(out)
    assert {name for name in before if before[name] == after.get(name)} == finished
    assert contents(out) == contents(submitted)
    again = write_submission(models, targets, out, device="cpu")
    assert again.judged == 0
    assert modified(out).items() >= {k: v for k, v in after.items() if k != "submission.json"}.items()


def test_a_process_killed_outright_is_continued(
    fitted: Path, drawn: Path, submitted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = "from anomalyvfm.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "submit", fitted, drawn, "--out", out, "--device", "cpu"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("anomaly_images/*/*/*.tiff")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert list(out.glob("anomaly_images/*/*/*.tiff"))
    assert run(fitted, drawn, "--out", out, "--device", "cpu").exit_code == 0
    assert contents(out) == contents(submitted)


def test_an_image_newer_than_its_map_is_judged_again(fitted: Path, drawn: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "fabric", tmp_path / "out"
    shutil.copytree(drawn / "fabric", data)
    models, targets = find_models(fitted, ["fabric"]), data_targets(data)
    write_submission(models, targets, out, device="cpu")
    changed = targets[2]
    assert changed.image is not None
    Image.new("RGB", (96, 96), "white").save(changed.image)
    later = time.time() + 5
    os.utime(changed.image, (later, later))
    before = contents(out)
    assert write_submission(models, targets, out, device="cpu").judged == 1
    after = contents(out)
    assert {name for name in after if after[name] != before[name]} >= {changed.map, "submission.tar.gz"}


def test_a_limit_may_be_raised_for_a_submission_but_not_what_its_maps_are_made_of(
    fitted: Path, drawn: Path, submitted: Path, tmp_path: Path
) -> None:
    out, models = tmp_path / "out", tmp_path / "models"
    shutil.copytree(fitted, models)
    call = (models, drawn, "--out", out, "--device", "cpu")
    refused = run(*call, "--set", "image.max_pixels=100")
    assert refused.exit_code == 2
    assert "could not be read" in refused.output
    other = run(*call, "--set", "image.white_level=4095")
    assert other.exit_code == 2
    assert "by other models, or read otherwise" in other.output
    assert run(*call).exit_code == 0
    assert contents(out) == contents(submitted)
    assert "settled when the model was fitted" in run(*call, "--set", "image.size=64").output


def test_categories_can_be_added_one_at_a_time(
    fitted: Path, drawn: Path, submitted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = run(fitted, drawn, "--out", out, "--device", "cpu", "--categories", "fabric")
    assert first.exit_code == 0, first.output
    assert not (out / "anomaly_images" / "sheet_metal").exists()
    assert run("--check", out, "--data", drawn, "--categories", "fabric").exit_code == 0
    assert run(fitted, drawn, "--out", out, "--device", "cpu").exit_code == 0
    assert contents(out) == contents(submitted)
    assert "also has sheet_metal" in refused(fitted, drawn, "--out", out, "--categories", "fabric")


def test_an_unreadable_image_is_named_after_the_rest_is_written(
    fitted: Path, drawn: Path, submitted: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(drawn, data)
    broken = sorted((data / "fabric" / "test_private").iterdir())[1]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:300])
    line = refused(fitted, data, "--out", out, "--device", "cpu")
    targets = data_targets(data)
    assert f"1 of {len(targets)} test images could not be read" in line
    assert str(broken) in line
    assert not (out / "submission.tar.gz").exists()
    assert {t.image for t in targets if not (out / t.map).exists()} == {broken}
    broken.write_bytes(whole)
    assert run(fitted, data, "--out", out, "--device", "cpu").exit_code == 0
    assert run("--check", out / "submission.tar.gz", "--data", data).exit_code == 0
    assert contents(out).keys() == contents(submitted).keys()


def test_values_beyond_float16_stay_finite_and_in_order(tmp_path: Path) -> None:
    grid = np.array([[-1e30, -3.0], [1e5, 70_000.0]], np.float32)
    verdict = Verdict(
        score=9,
        p_value=0.1,
        anomalous=True,
        threshold=1,
        anomaly_map=grid,
        size=(2, 2),
        frame=InputFrame(2, 2),
        low_threshold=1,
        high_threshold=2,
        seconds=0,
        summary=np.zeros(1, np.float32),
    )
    target = Target("can", "test_private", "000_regular")
    _write_image(tmp_path, target, verdict)
    map_ = tifffile.imread(tmp_path / target.map)
    assert map_.dtype == np.float16
    assert map_.tolist() == [[-65504, -3], [65504, 65504]]
    assert np.asarray(Image.open(tmp_path / target.mask)).tolist() == [[0, 0], [255, 255]]


def test_a_damaged_file_among_the_written_ones_stops_the_packing(
    submitted: Path, fitted: Path, drawn: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(submitted, out)
    (out / "submission.tar.gz").unlink()
    target = data_targets(drawn)[0]
    (out / target.map).write_bytes((out / target.map).read_bytes()[:100])
    line = refused(fitted, drawn, "--out", out, "--device", "cpu")
    assert "1 fault after writing" in line
    assert f"{target.map}: not a readable TIFF" in line
    assert not (out / "submission.tar.gz").exists()
    (out / target.map).unlink()
    assert run(fitted, drawn, "--out", out, "--device", "cpu").exit_code == 0
    assert contents(out) == contents(submitted)
