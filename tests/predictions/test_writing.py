from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from anomalyvfm.data.reading import read_image
from anomalyvfm.decision.drift import DriftTest
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.detector import Detector
from anomalyvfm.errors import ImageWarning, InputError
from anomalyvfm.predictions.finding import find_images
from anomalyvfm.predictions.tables import run_lengths
from anomalyvfm.predictions.writing import Maps, Output, write_predictions
from anomalyvfm.tracking import Tracker, untracked
from anomalyvfm.visual.pictures import save_picture
from tests.cli.commands import as_json, refused
from tests.conftest import SMALL

T = TypeVar("T")


def parts_of(drawn: Path) -> list[Path]:
    parts = drawn / "sheet_metal" / "test_public"
    return [path for folder in ("good", "bad") for path in sorted((parts / folder).iterdir())]


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def test_drift_sees_the_images_in_input_order_and_its_state_goes_on(
    fitted_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    detector = Detector.load(fitted_folder, device="cpu")
    calibration = detector.calibration_
    good = sorted((drawn / "sheet_metal" / "test_public" / "good").iterdir())
    images = [good[0], tmp_path / "missing.png", *good[1:], *good[:3]]

    def begun() -> DriftTest:
        return DriftTest(calibration.scores, calibration.threshold, 500)

    expected = begun()
    for _, verdict in detector.judge([image for image in images if image.exists()]):
        assert isinstance(verdict, Verdict)
        expected.add(round(verdict.score, 5))  # as written
    tally = write_predictions(detector, images, tmp_path / "out", Output(begun()))
    assert tally.drift == expected.summary()
    assert tally.drift["images"] == len(images) - 1
    written = json.loads((tmp_path / "out" / "drift.json").read_text())
    assert written["says"] == expected.describe()
    assert DriftTest.from_dict(written).as_dict() == expected.as_dict()
    # A later run without the test leaves no outcome of this one behind.
    assert write_predictions(detector, images[:2], tmp_path / "out").drift is None
    assert not (tmp_path / "out" / "drift.json").exists()


@pytest.mark.parametrize("maps", ["all", "anomalous", "none"])
def test_pictures_are_written_of_the_images_asked_for(
    maps: Maps, fitted_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    detector = Detector.load(fitted_folder, device="cpu")
    parts = drawn / "sheet_metal" / "test_public"
    images = [path for folder in ("good", "bad") for path in sorted((parts / folder).iterdir())]
    out = tmp_path / "out"
    write_predictions(detector, [*images, tmp_path / "missing.png"], out, Output(maps=maps))
    *lines, broken = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert "map" not in broken
    assert {line["anomalous"] for line in lines} == {True, False}
    wanted = {"all": len(images), "anomalous": sum(line["anomalous"] for line in lines), "none": 0}[maps]
    shown = [line for line in lines if line["map"] is not None]
    assert len(shown) == wanted
    assert maps != "anomalous" or all(line["anomalous"] for line in shown)
    written = sorted(path.name for path in (out / "maps").iterdir()) if maps != "none" else []
    assert written == sorted(Path(line["map"]).name for line in shown)
    assert (out / "maps").exists() == (maps != "none")


def test_a_grey_picture_is_stored_grey_and_looks_the_same(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (40, 30, 1), np.uint8)
    for picture, mode in (
        (np.repeat(grey, 3, axis=2), "L"),
        (np.concatenate([grey, grey, 255 - grey], axis=2), "RGB"),
        (grey[..., 0], "L"),
    ):
        save_picture(picture, tmp_path / "picture.png")
        with Image.open(tmp_path / "picture.png") as stored:
            assert stored.mode == mode
            shown = np.asarray(stored.convert("RGB"))
        assert np.array_equal(shown, picture if picture.ndim == 3 else np.repeat(grey, 3, axis=2))


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


def killing(after: int) -> Any:
    def track(items: Iterable[T], total: int, description: str) -> Iterable[T]:
        for count, item in enumerate(items):
            if count == after:
                raise Killed
            yield item

    return track


@pytest.mark.parametrize("after", [0, 3, 9, 19])
def test_a_killed_run_is_gone_on_with_and_gives_the_same(
    after: int, fitted_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    detector = Detector.load(fitted_folder, device="cpu")
    detector.settings = detector.settings.override({"batch": 4})
    images = [*parts_of(drawn), tmp_path / "missing.png"]

    def begun() -> DriftTest:
        calibration = detector.calibration_
        return DriftTest(calibration.scores, calibration.threshold, 500)

    def written(out: Path, resume: bool, track: Tracker = untracked) -> Any:
        output = Output(begun(), masks=True, run={"model": "m"})
        return write_predictions(detector, images, out, output, track, resume)

    expected = written(tmp_path / "whole", resume=False)
    out = tmp_path / "out"
    with pytest.raises(Killed):
        written(out, resume=False, track=killing(after))
    with (out / "predictions.jsonl.partial").open("a") as stream:
        stream.write('{"path": "torn')
    assert not (out / "predictions.jsonl").exists()
    assert written(out, resume=True) == expected
    drop = {"ms"}
    assert [{k: v for k, v in line.items() if k not in drop} for line in lines(out)] == [
        {k: v for k, v in line.items() if k not in drop} for line in lines(tmp_path / "whole")
    ]
    for name in ("maps", "masks"):
        ours, theirs = out / name, tmp_path / "whole" / name
        assert sorted(p.name for p in ours.iterdir()) == sorted(p.name for p in theirs.iterdir())
        assert all(path.read_bytes() == (theirs / path.name).read_bytes() for path in ours.iterdir())
    before = (out / "predictions.jsonl").read_bytes()
    assert written(out, resume=True) == expected  # a finished run is left as it is
    assert (out / "predictions.jsonl").read_bytes() == before
    for other in (Output(masks=True, maps="none"), Output(masks=True, run={"model": "other"})):
        with pytest.raises(InputError, match="another model, of other images or with other options"):
            write_predictions(detector, images, out, other, resume=True)


def test_resume_begins_where_nothing_is_and_refuses_what_is_no_run(
    fitted_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    images = drawn / "sheet_metal" / "test_public" / "good"
    first = as_json("predict", fitted_folder, images, "--out", tmp_path / "p", "--resume")
    assert as_json("predict", fitted_folder, images, "--out", tmp_path / "p", "--resume") == first
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("")
    assert "no run to go on with" in refused("predict", fitted_folder, images, "--out", other, "--resume")
    assert "choose one" in refused(
        "predict", fitted_folder, images, "--out", other, "--resume", "--overwrite"
    )


def test_overwriting_leaves_nothing_of_an_earlier_run(
    fitted_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    parts, out = drawn / "sheet_metal" / "test_public", tmp_path / "p"
    as_json("predict", fitted_folder, parts / "bad", "--out", out, "--drift-days", 1, "--coco", "--csv")
    one = parts / "good" / "000_regular.png"
    as_json("predict", fitted_folder, one, "--out", out, "--overwrite", "--maps", "all")
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("[!.]*"))
    assert names == ["maps", "maps/000_regular.jpg", "predictions.jsonl"]
    (out / "maps" / "note.txt").write_text("mine")
    line = refused("predict", fitted_folder, parts / "good", "--out", out, "--overwrite")
    assert "maps/note.txt" in line


def test_raw_maps_masks_and_tables_say_the_same(fitted_folder: Path, drawn: Path, tmp_path: Path) -> None:
    images, out = parts_of(drawn), tmp_path / "p"
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    as_json("predict", fitted_folder, *images, broken, "--out", out, "--maps", "raw", "--coco", "--csv")
    verdicts = Detector.load(fitted_folder).predict(images)
    *rows, error = lines(out)
    coco = json.loads((out / "coco.json").read_text())
    with (out / "predictions.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["path"] for row in table] == [str(path) for path in (*images, broken)]
    assert table[-1]["error"] == error["error"]
    assert len(coco["images"]) == len(images)
    regions = iter(coco["annotations"])
    for number, (row, cells, verdict) in enumerate(zip(rows, table, verdicts, strict=False), start=1):
        stored = tifffile.imread(out / row["map"])
        assert stored.dtype == np.float32
        np.testing.assert_allclose(stored, verdict.map, atol=1e-4)
        with Image.open(out / row["mask"]) as mask:
            assert mask.mode == "L"
            values = np.asarray(mask)
        assert set(np.unique(values)) <= {0, 255}
        assert np.array_equal(values > 0, verdict.mask)
        assert float(cells["score"]) == row["score"]
        assert int(cells["regions"]) == len(row["regions"])
        for region in row["regions"]:
            entry = next(regions)
            assert entry["image_id"] == number
            x0, y0, x1, y1 = region["bbox"]
            assert entry["bbox"] == [x0, y0, x1 - x0, y1 - y0]
            assert sum(entry["segmentation"]["counts"][1::2]) == entry["area"] == region["area"]
    assert next(regions, None) is None
    assert any(row["regions"] for row in rows)


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_run_lengths_give_the_mask_back(mask: np.ndarray) -> None:
    lengths = run_lengths(mask)
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    assert np.array_equal(values.reshape(mask.shape, order="F"), mask)
    assert all(length > 0 for length in lengths[1:])


@pytest.mark.parametrize("exported", [False, True])
def test_another_false_alarm_rate_moves_the_thresholds(
    exported: bool, fitted_folder: Path, exported_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    model, images = exported_folder if exported else fitted_folder, parts_of(drawn)
    counts = []
    for rate in (0.02, 0.2, 0.5):
        out = tmp_path / str(rate)
        said = as_json("predict", model, *images, "--out", out, "--maps", "none", "--false-alarm-rate", rate)
        detector = Detector.load(fitted_folder).with_false_alarm_rate(rate)
        assert [row["anomalous"] for row in lines(out)] == [v.anomalous for v in detector.predict(images)]
        assert [[r["bbox"] for r in row["regions"]] for row in lines(out)] == [
            [list(r.bbox) for r in v.regions] for v in detector.predict(images)
        ]
        counts.append(said["anomalous"])
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    assert "--false-alarm-rate" in refused(
        "predict", model, *images, "--out", tmp_path / "x", "--false-alarm-rate", 1.5
    )


def test_images_are_found_where_a_user_means(fitted_folder: Path, drawn: Path, tmp_path: Path) -> None:
    good = sorted((drawn / "sheet_metal" / "test_public" / "good").iterdir())[:4]
    tree = tmp_path / "tree"
    for number, place in enumerate(("a/1", "a/1", "b", "b/ground_truth")):
        (tree / place).mkdir(parents=True, exist_ok=True)
        shutil.copy(good[number], tree / place / f"{number}.png")
    listed = tmp_path / "some.txt"
    listed.write_text(f"# parts of today\ntree/b/2.png\n\n{tree / 'a' / '1' / '0.png'}\n")

    def found(*places: Path, **options: bool) -> list[str]:
        return [path.stem for path in find_images(places, **options)]

    assert found(tree) == ["0", "1", "2"]
    assert found(tree / "b") == ["2"]
    assert found(listed) == ["2", "0"]
    assert found(tree / "**" / "*.png") == ["0", "1", "2", "3"]
    assert found(tree / "b" / "*.png", tree / "none*.png") == ["2", "none*"]
    shutil.copy(good[0], tree / "9.png")
    with pytest.warns(ImageWarning, match=r"3 images in its sub-folders are left out; --recursive"):
        assert found(tree) == ["9"]
    assert found(tree, recursive=True) == ["9", "0", "1", "2"]
    said = as_json("predict", fitted_folder, tree, listed, "--out", tmp_path / "p", "--recursive")
    assert (said["images"], said["errors"]) == (6, 0)
    line = refused("predict", tree, fitted_folder, "--out", tmp_path / "q")
    assert f"{tree}: no model, but {fitted_folder} is one; name the model first" in line
    assert "name the model first" in refused("evaluate", drawn, fitted_folder, "--out", tmp_path / "q")


def test_images_are_taken_however_a_program_holds_them(fitted_folder: Path, drawn: Path) -> None:
    path = next((drawn / "sheet_metal" / "test_public" / "good").iterdir())
    detector = Detector.load(fitted_folder, device="cpu")
    (expected,) = detector.predict([path])
    pixels = read_image(path)
    floats = pixels.astype(np.float32)
    with Image.open(path) as opened, path.open("rb") as stream:
        ways: list[Any] = [
            str(path),
            path,
            path.read_bytes(),
            bytearray(path.read_bytes()),
            BytesIO(path.read_bytes()),
            stream,
            opened,
            pixels,
            floats / 255,
            floats,
            floats.astype(np.float64),
            pixels.astype(np.int64),
            np.ascontiguousarray(pixels.transpose(2, 0, 1)),
            floats / 255 * np.float32(1 + 1e-6),
            torch.from_numpy(pixels),
            torch.from_numpy(pixels).int(),
            torch.from_numpy(pixels).permute(2, 0, 1),
            torch.from_numpy(floats / 255).permute(2, 0, 1),
        ]
        for way in ways:
            for given_as in (way, [way], (way,), iter([way])):
                (verdict,) = detector.predict(given_as)
                assert verdict.score == pytest.approx(expected.score, abs=1e-6), type(way)
        fitted = Detector("v2", SMALL, device="cpu").fit([*ways, pixels[::-1]])
        assert len(fitted.pipeline_.learned) == 2
    assert len(detector.predict(path.parent)) == len(list(path.parent.iterdir()))
    assert len(detector.predict(np.stack([pixels, pixels]))) == 2
    assert len(detector.predict(np.array([str(path), str(path)]))) == 2
    for wrong, line in (
        ([{}], "dict: no image; give a file"),
        (None, "NoneType: no images; give a file"),
        ([pixels.astype(np.int32) * 16], "of type int32 from .* have no known white; give them as uint8"),
        ([floats / floats.max() * 1.1], "from .* to 1.1 must lie between 0 and 1; scale or clip them"),
    ):
        with pytest.raises(InputError, match=line):
            detector.predict(wrong)


@pytest.mark.parametrize("exported", [False, True])
def test_how_files_are_read_may_be_changed_for_a_run(
    exported: bool, fitted_folder: Path, exported_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    model, image = exported_folder if exported else fitted_folder, parts_of(drawn)[0]
    twelve_bit = tmp_path / "twelve_bit.tif"
    tifffile.imwrite(
        twelve_bit, np.minimum(read_image(image).astype(np.uint16) * 16, 4095), photometric="rgb"
    )
    limit = ("--set", "image.max_pixels=100")
    line = refused("predict", model, image, "--out", tmp_path / "a", *limit)
    assert "none of the 1 images could be judged" in line
    assert "shrink it or give --set image.max_pixels=N" in lines(tmp_path / "a")[0]["error"]
    white = ("--set", "image.white_level=4080")
    as_json("predict", model, image, twelve_bit, "--out", tmp_path / "b", *white)
    plain, scaled = lines(tmp_path / "b")
    assert scaled["score"] == pytest.approx(plain["score"], abs=0.05)
    line = refused("predict", model, image, "--out", tmp_path / "c", "--set", "image.size=64")
    assert "--set image.size: settled when the model was fitted" in line
