"""Commands as a user types them: files written, exit codes, one line for each mistake."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomalyvfm.cli import main
from tests.checkpoints import save_tiny_dinov2
from tests.cli.commands import QUICK, as_json, refused, run


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


@pytest.fixture
def parts(drawn: Path) -> Path:
    return drawn / "sheet_metal"


# ── what the commands write ────────────────────────────────────────────────────────────────────────


def test_fit_writes_a_model_that_info_describes(parts: Path, tmp_path: Path) -> None:
    said = as_json("fit", parts, "--out", tmp_path / "m", *QUICK, "--set", "gaussian.patches=2")
    assert said["fitted_on"]["images"] == 20
    assert sorted(p.name for p in (tmp_path / "m").glob("[!.]*")) == ["model.json", "model.safetensors"]
    info = as_json("info", tmp_path / "m")
    assert info["settings"]["gaussian"]["patches"] == 2
    assert info["settings"]["image"]["size"] == 96
    assert info["backbone"]["name"] == "efficientnet-lite0"
    assert info["fitted_on"]["category"] == "sheet_metal"
    assert "gaussian.patches=2" in run("info", tmp_path / "m").stdout


def test_predict_writes_a_line_an_image_in_input_order_and_overlays(
    fitted_folder: Path, parts: Path, tmp_path: Path
) -> None:
    bad = sorted((parts / "test_public" / "bad").iterdir())
    broken = tmp_path / "broken.png"
    broken.write_bytes(bad[0].read_bytes()[:200])
    inputs = [bad[3], broken, tmp_path / "missing.png", parts / "test_public" / "good", bad[0]]
    said = as_json("predict", fitted_folder, *inputs, "--out", tmp_path / "out", "--maps", "all")
    rows = lines(tmp_path / "out")
    good = sorted((parts / "test_public" / "good").iterdir())
    assert [r["path"] for r in rows] == [
        str(p) for p in (bad[3], broken, tmp_path / "missing.png", *good, bad[0])
    ]
    assert said == {
        "out": str(tmp_path / "out"),
        "images": len(rows),
        "anomalous": sum(r.get("anomalous", False) for r in rows),
        "errors": 2,
        "drift": None,
    }
    for row in rows:
        if "error" in row:
            assert set(row) == {"path", "error"}
            continue
        assert set(row) == {"path", "score", "p_value", "anomalous", "promised", "regions", "ms", "map"}
        assert 0 < row["p_value"] <= 1
        with Image.open(tmp_path / "out" / row["map"]) as picture:
            # Below the overlay stands the verdict, beside it the reasons of what is odd.
            assert picture.height > 96
            assert (picture.width > 400) == bool(row["regions"])
        for region in row["regions"]:
            assert set(region) == {"bbox", "area", "area_range", "peak", "zone", "nearest", "layers"}
    # good/000_regular.png and bad/000_regular.png share a stem, and lose no picture to each other.
    assert len({r["map"] for r in rows if "map" in r}) == len(rows) - 2
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_predict_draws_the_anomalous_images_alone_unless_told_otherwise(
    fitted_folder: Path, parts: Path, tmp_path: Path
) -> None:
    run("predict", fitted_folder, parts / "test_public", "--out", tmp_path / "out")
    rows = lines(tmp_path / "out")
    assert {row["anomalous"] for row in rows} == {True, False}
    assert [row["map"] is not None for row in rows] == [row["anomalous"] for row in rows]


def test_evaluate_writes_every_metric(fitted_folder: Path, drawn: Path, tmp_path: Path) -> None:
    said = as_json("evaluate", fitted_folder, drawn, "--out", tmp_path / "out")  # the category is the model's
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written == said
    numbers = [
        "image_auroc",
        "image_ap",
        "image_f1",
        "pixel_auroc",
        "pixel_ap",
        "aupro_0.30",
        "aupro_0.05",
        "seg_f1",
        "class_f1",
        "false_alarm_rate",
        "fit_s",
        "predict_s",
        "images_per_s",
        "peak_mb",
    ]
    assert all(isinstance(written[name], float) for name in numbers)
    assert set(written["by_condition"]) == {"regular", "overexposed", "underexposed", "shift_1", "shift_2"}
    assert (written["n_good"], written["n_bad"]) == (10, 10)


def test_evaluate_tells_the_difference_to_another_model(
    fitted_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    few_images, few_model, data = tmp_path / "images", tmp_path / "few", drawn / "sheet_metal"
    few_images.mkdir()
    for image in sorted((data / "train" / "good").iterdir())[:6]:
        shutil.copy(image, few_images)
    as_json("fit", few_images, "--out", few_model, *QUICK)
    told = as_json("evaluate", fitted_folder, data, "--out", tmp_path / "out", "--against", few_model)
    few = as_json("evaluate", few_model, data, "--out", tmp_path / "other", "--against", fitted_folder)
    assert few["image_auroc"] != told["image_auroc"]
    for name, one in told["against"]["metrics"].items():
        assert one["value"] == pytest.approx(told[name]) and one["other"] == pytest.approx(few[name])
        assert one["difference"] == pytest.approx(told[name] - few[name], abs=1e-9)
        assert one["interval"][0] <= one["interval"][1]
        back = few["against"]["metrics"][name]
        assert back["difference"] == pytest.approx(-one["difference"]) and back["noise"] == one["noise"]
    said = run("evaluate", fitted_folder, drawn, "--out", tmp_path / "same", "--against", fitted_folder)
    assert said.stdout.count("+0.000 to +0.000") == 6 and said.stdout.count("noise") == 6


def test_evaluate_without_masks_says_why_pixel_metrics_are_null(
    fitted_folder: Path, parts: Path, tmp_path: Path
) -> None:
    data = tmp_path / "plain"
    shutil.copytree(parts / "train" / "good", data / "good")
    shutil.copytree(parts / "test_public" / "bad", data / "scratched")
    written = as_json("evaluate", fitted_folder, data, "--out", tmp_path / "out")
    for name in ("pixel_auroc", "pixel_ap", "aupro_0.30", "aupro_0.05", "seg_f1"):
        assert written[name] is None
        assert written["reasons"][name]
    assert written["image_auroc"] is not None


def test_a_plain_folder_of_good_images_is_enough(parts: Path, tmp_path: Path) -> None:
    said = as_json("fit", parts / "train" / "good", "--out", tmp_path / "m", *QUICK)
    assert said["fitted_on"]["images"] == 20
    assert said["calibration"] == said["calibration"] | {"images": 20, "promised": False}


def test_fit_counts_what_it_skipped(parts: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(parts / "train" / "good", tmp_path / "data"))
    (data / "000_regular.png").write_bytes(b"")
    result = run("fit", data, "--out", tmp_path / "m", *QUICK)
    assert result.exit_code == 0
    assert "000_regular.png" in result.stderr
    assert "skipped 1 image that" in result.stderr
    assert "warning: only 19 different good images to calibrate with" in result.stderr


def test_generate_draws_what_is_asked(tmp_path: Path) -> None:
    said = as_json(
        "generate", "--out", tmp_path / "g", "--categories", "can", "--images", "3", "--size", "48"
    )
    assert list(said["files"]) == ["can"]
    assert len(list((tmp_path / "g" / "can" / "train" / "good").iterdir())) == 3


def test_doctor_runs_the_whole_chain() -> None:
    said = as_json("doctor", "--device", "cpu")
    assert said["ok"]
    chain = next(f for f in said["findings"] if f["what"].startswith("whole chain"))
    assert "standard deviations" in chain["found"]


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_has_help_and_the_common_options(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert all(option in result.stdout for option in ("--json", "--device", "--seed"))


# ── mistakes ───────────────────────────────────────────────────────────────────────────────────────


def test_mistakes_in_fit_are_one_line(parts: Path, drawn: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "m")
    (tmp_path / "empty").mkdir()
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(next((parts / "train" / "good").iterdir()), one)
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    for i in range(3):
        Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(tiny / f"{i}.png")
    broken = tmp_path / "broken"
    broken.mkdir()
    for i in range(3):
        (broken / f"{i}.png").write_bytes(b"not an image")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    expected = [
        ((tmp_path / "nowhere", *out), "no such folder"),
        ((tmp_path / "empty", *out), "looked for"),
        ((one, *out, *QUICK), "1 good image to learn from"),
        ((tiny, *out, *QUICK), "1×1 pixels is too small"),
        ((broken, *out, *QUICK), "none of the 3 images could be read"),
        ((drawn, *out), "--category: fabric, sheet_metal"),
        ((drawn, *out, "--category", "fabrik"), "did you mean fabric?"),
        ((parts, *out, "--backbone", "efficientnet-light0"), "efficientnet-lite0"),
        ((parts, *out, "--preset", "v22"), "did you mean 'v2'?"),
        ((parts, *out, "--set", "gausian.patches=1"), "did you mean 'gaussian.patches'?"),
        ((parts, *out, "--set", "gaussian.patches=soft"), "setting gaussian.patches='soft'"),
        ((parts, *out, "--set", "gaussian.patches"), "key=value"),
        ((parts, *out, "--image-size", "big"), "not a valid integer"),
        ((parts, *out, *QUICK, "--device", "abacus"), "device 'abacus'"),
        ((parts, *out, "--bakbone", "x"), "--backbone"),
        ((parts,), "--out"),
        ((parts, "--out", tmp_path / "full"), "exists already"),
        ((parts, "--out", tmp_path / "full" / "x" / "m"), "is a file"),
    ]
    for arguments, message in expected:
        assert message in refused("fit", *arguments)
    assert not (tmp_path / "m").exists()


def test_a_backbone_from_the_hub_without_a_hub_names_the_two_ways_out(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    line = refused("fit", parts, "--out", tmp_path / "m", "--backbone", "dinov2-small")
    assert "--backbone FOLDER" in line
    assert "connect" in line


def test_a_backbone_named_relative_to_here_is_found_from_elsewhere(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_dinov2(tmp_path / "here" / "tiny")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    as_json(
        "fit", parts, "--out", tmp_path / "m", "--backbone", "tiny", "--image-size", "56", "--device", "cpu"
    )
    monkeypatch.chdir(tmp_path / "there")
    good = parts / "test_public" / "good"
    assert as_json("predict", tmp_path / "m", good, "--out", tmp_path / "p")["errors"] == 0


def test_mistakes_in_predict_and_evaluate_are_one_line(
    fitted_folder: Path, parts: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    good = next((parts / "test_public" / "good").iterdir())
    out = ("--out", tmp_path / "out")
    assert "no model here" in refused("predict", tmp_path / "empty", good, *out)
    assert "no images there" in refused("predict", fitted_folder, tmp_path / "empty", *out)
    assert "none of the 1 images could be judged" in refused(
        "predict", fitted_folder, tmp_path / "no.png", *out
    )
    assert "exists already" in refused("predict", fitted_folder, good, "--out", fitted_folder)
    assert "no labelled test images" in refused(
        "evaluate", fitted_folder, parts / "train" / "good", "--out", tmp_path / "e"
    )
    assert "no such folder" in refused("evaluate", fitted_folder, tmp_path / "no", "--out", tmp_path / "e")


def test_a_disk_that_fills_up_keeps_the_finished_lines(
    fitted_folder: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomalyvfm.predictions import writing
    from anomalyvfm.visual import pictures

    save = pictures.save_picture
    bad = parts / "test_public" / "bad"
    images = sorted(bad.iterdir())

    def full(picture: np.ndarray, path: Path) -> None:  # by name: several are drawn at once, in any order
        if path.stem >= images[3].stem:
            raise OSError(28, "No space left on device")
        save(picture, path)

    monkeypatch.setattr(writing, "save_picture", full)
    line = refused("predict", fitted_folder, bad, "--maps", "all", "--out", tmp_path / "out")
    assert "cannot be written (No space left on device)" in line
    assert not (tmp_path / "out" / "predictions.jsonl").exists()
    kept = (tmp_path / "out" / "predictions.jsonl.partial").read_text().splitlines()
    assert [json.loads(row)["path"] for row in kept] == [str(image) for image in images[:3]]


def test_a_mask_of_another_size_is_one_line(fitted_folder: Path, parts: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(parts, tmp_path / "data"))
    mask = next((data / "test_public" / "ground_truth" / "bad").iterdir())
    Image.new("L", (50, 40), 255).save(mask)
    line = refused("evaluate", fitted_folder, data, "--out", tmp_path / "e")
    assert str(mask) in line
    assert "40×50 pixels for an image of 96×96" in line
    assert not (tmp_path / "e").exists()


def test_an_interrupted_fit_leaves_no_model(parts: Path, tmp_path: Path) -> None:
    data = tmp_path / "many"
    data.mkdir()
    first = next((parts / "train" / "good").iterdir()).read_bytes()
    for i in range(5000):
        (data / f"{i:04}.png").write_bytes(first)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            # A shell's background job is started with interrupts ignored, and so is all that it starts.
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from anomalyvfm.cli import run; run()",
            "fit",
            str(data),
            "--out",
            "m",
            *QUICK,
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(6)
    for _ in range(5):  # Python drops one that falls into an import; then a user presses again
        os.kill(process.pid, signal.SIGINT)
        try:
            _, said = process.communicate(timeout=2)
            break
        except subprocess.TimeoutExpired:
            continue
    assert process.returncode == 130, said
    assert "stopped" in said
    assert [p.name for p in tmp_path.iterdir()] == ["many"]


def test_help_is_there_at_once() -> None:
    """No heavy library is imported before it is needed."""
    heavy = ["torch", "transformers", "scipy", "matplotlib", "PIL", "numpy", "pydantic", "rich.progress"]
    code = (
        "import sys, anomalyvfm, anomalyvfm.cli\n"
        "try: anomalyvfm.cli.main(['--help'])\n"
        f"finally: print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Learn good parts" in done.stdout
    assert done.stderr.strip().endswith("[]"), done.stderr


def test_results_never_replace_what_they_are_made_from(fitted_folder: Path, parts: Path) -> None:
    before = sorted(parts.rglob("*"))
    assert "choose another --out" in refused("fit", parts, "--out", parts, "--overwrite", *QUICK)
    assert "choose another --out" in refused("fit", parts, "--out", parts.parent, "--overwrite", *QUICK)
    assert "choose another --out" in refused("evaluate", fitted_folder, parts, "--out", parts, "--overwrite")
    model = shutil.copytree(fitted_folder, parts.parent / "kept")
    assert "choose another --out" in refused("evaluate", model, parts, "--out", model, "--overwrite")
    assert sorted(parts.rglob("*")) == before


def test_a_negative_seed_is_one_line(parts: Path, tmp_path: Path) -> None:
    assert "--seed" in refused("fit", parts, "--out", tmp_path / "m", "--seed", "-1", *QUICK)


def test_an_out_with_too_long_a_name_is_one_line(parts: Path, tmp_path: Path) -> None:
    assert "cannot be written" in refused("fit", parts, "--out", tmp_path / ("a" * 300), *QUICK)


def test_generate_takes_a_list_with_spaces(tmp_path: Path) -> None:
    drawn = as_json(
        "generate", "--out", tmp_path / "d", "--categories", "can, gear", "--images", 2, "--size", 32
    )
    assert list(drawn["files"]) == ["can", "gear"]


def test_predict_on_a_full_disk_is_one_line(
    fitted_folder: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("anomalyvfm.predictions.writing.save_picture", full)
    image = next(drawn.rglob("*.png"))
    message = refused("predict", fitted_folder, image, "--out", tmp_path / "p", "--device", "cpu")
    assert "No space left on device" in message


def test_a_name_as_long_as_file_systems_allow_gets_its_overlay(
    fitted_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    images = [
        tmp_path / ("x" * 251 + ".png"),
        tmp_path / ("ü" * 125 + ".png"),
        tmp_path / ("x" * 251 + ".PNG"),
    ]
    for image in images:
        shutil.copy(next(drawn.rglob("*.png")), image)
    out = tmp_path / "p"
    as_json("predict", fitted_folder, *images, "--out", out, "--device", "cpu")
    maps = [line["map"] for line in lines(out)]
    assert len(set(maps)) == 3
    assert all((out / name).is_file() for name in maps)


def test_no_overlay_replaces_another(fitted_folder: Path, drawn: Path, tmp_path: Path) -> None:
    picture = next(drawn.rglob("*.png"))
    images = []
    for number, stem in enumerate(("a", "a", "a-2", "A", "a-2", "a-2-2")):
        images.append(tmp_path / str(number) / f"{stem}.png")
        images[-1].parent.mkdir()
        shutil.copy(picture, images[-1])
    as_json("predict", fitted_folder, *images, "--out", tmp_path / "p", "--device", "cpu")
    assert len({line["map"].lower() for line in lines(tmp_path / "p")}) == len(images)
