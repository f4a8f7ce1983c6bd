"""update, forget and calibrate; a model of several folders, and one of each category."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from anomalyvfm.detector import Detector
from tests.cli.commands import QUICK, as_json, refused, run
from tests.test_detector import sums_differ


@pytest.fixture
def halves(drawn: Path, tmp_path: Path) -> tuple[Path, Path]:
    good = sorted((drawn / "sheet_metal" / "train" / "good").iterdir())
    places = (tmp_path / "first", tmp_path / "second")
    for place, images in zip(places, (good[:12], good[12:]), strict=True):
        place.mkdir()
        for image in images:
            shutil.copy(image, place)
    return places


def test_a_model_learns_on_and_unlearns_what_a_fit_would_have_learned(
    halves: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = halves
    as_json("fit", first, "--out", tmp_path / "m", *QUICK)
    both = as_json("fit", first, second, "--out", tmp_path / "both", *QUICK)
    assert both["fitted_on"]["images"] == 20
    more = as_json("update", tmp_path / "m", second, "--out", tmp_path / "more", "--device", "cpu")
    assert more["fitted_on"]["images"] == 20
    loaded = [Detector.load(tmp_path / name, device="cpu") for name in ("both", "more")]
    assert sums_differ(*loaded) < 1e-7  # other batches: float32 features in another order
    as_json("forget", tmp_path / "more", second, "--out", tmp_path / "more", "--overwrite", "--device", "cpu")
    loaded = [Detector.load(tmp_path / name, device="cpu") for name in ("m", "more")]
    assert sums_differ(*loaded) < 1e-7  # other batches: float32 features in another order
    renewed = as_json("calibrate", tmp_path / "m", second, "--out", tmp_path / "c", "--device", "cpu")
    assert renewed["calibration"]["images"] == 8
    out = ("--out", tmp_path / "x")
    assert "not among the images this model learned" in refused("forget", tmp_path / "m", second, *out)
    assert "cannot forget every image" in refused("forget", tmp_path / "m", first, *out)
    assert "name the model first" in refused("update", second, tmp_path / "m", *out)
    assert "exists already" in refused("update", tmp_path / "m", second, "--out", tmp_path / "m")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    assert "none of the 1 images" in refused("update", tmp_path / "m", broken, *out)
    assert not (tmp_path / "x").exists()


def test_a_model_each_of_all_categories(drawn: Path, tmp_path: Path) -> None:
    said = as_json("fit", drawn, "--all", "--out", tmp_path / "models", *QUICK)
    assert [one["fitted_on"]["category"] for one in said["models"]] == ["fabric", "sheet_metal"]
    for name in ("fabric", "sheet_metal"):
        assert as_json("info", tmp_path / "models" / name)["fitted_on"]["category"] == name
    again = run("fit", drawn, "--all", "--out", tmp_path / "models", "--overwrite", *QUICK)
    assert again.exit_code == 0, again.output
    assert "--all takes one DATA" in refused(
        "fit", drawn, "--all", "--category", "fabric", "--out", tmp_path / "x"
    )


def test_each_image_is_judged_by_the_model_of_its_folder(drawn: Path, tmp_path: Path) -> None:
    models, out = tmp_path / "models", tmp_path / "judged"
    as_json("fit", drawn, "--all", "--out", models, *QUICK)
    said = as_json("predict", models, drawn, "--out", out, "--maps", "none")
    assert [Path(one["out"]).name for one in said["models"]] == ["fabric", "sheet_metal"]
    for name, one in zip(("fabric", "sheet_metal"), said["models"], strict=True):
        alone = tmp_path / f"alone-{name}"
        told = as_json("predict", models / name, drawn / name, "--out", alone, "--maps", "none")
        assert {**told, "out": ""} == {**one, "out": ""}
        lines = [
            re.sub(r'"ms": [0-9.]+', "", (place / "predictions.jsonl").read_text())
            for place in (alone, out / name)
        ]
        assert lines[0] == lines[1]
    stray = tmp_path / "stray.png"
    shutil.copy(next((drawn / "fabric" / "train" / "good").iterdir()), stray)
    noted = run("predict", models, drawn / "fabric", stray, "--out", out, "--overwrite", "--maps", "none")
    assert noted.exit_code == 0
    assert "1 of 53 images lie in no folder named like a model (fabric, sheet_metal)" in noted.output
    only = refused("predict", models, stray, "--out", tmp_path / "x")
    assert "name one of the models" in only
    assert "exists already" in refused("predict", models, drawn, "--out", out)
