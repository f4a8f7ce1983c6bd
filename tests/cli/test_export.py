"""`anomalyvfm export`, and what the other commands make of an exported folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import as_json, refused, run


def test_predict_gives_the_same_lines_for_an_exported_model(
    fitted_folder: Path, exported_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    images = drawn / "sheet_metal" / "test_public" / "bad"
    lines = {}
    for name, model in (("fitted", fitted_folder), ("exported", exported_folder)):
        tally = as_json("predict", model, images, "--out", tmp_path / name, "--drift-days", 1)
        text = (tmp_path / name / "predictions.jsonl").read_text()
        lines[name] = [json.loads(line) for line in text.splitlines()]
        assert tally["drift"]["images"] == len(lines[name]) == tally["images"]
    assert any(line["regions"] for line in lines["fitted"])
    for ours, theirs in zip(lines["fitted"], lines["exported"], strict=True):
        assert theirs["score"] == pytest.approx(ours["score"], abs=0.01)
        assert [theirs[key] for key in ("path", "p_value", "anomalous", "map")] == [
            ours[key] for key in ("path", "p_value", "anomalous", "map")
        ]
        assert [region["bbox"] for region in theirs["regions"]] == [
            region["bbox"] for region in ours["regions"]
        ]
        assert all(region["layers"] is region["nearest"] is None for region in theirs["regions"])
        assert theirs["map"] is None or (tmp_path / "exported" / theirs["map"]).stat().st_size


def test_predict_with_an_exported_model_imports_no_torch(
    exported_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    script = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = sys.modules['pydantic'] = None;"
        "from anomalyvfm.cli import main; main()"
    )
    image = next((drawn / "sheet_metal" / "test_public" / "good").iterdir())
    subprocess.run(
        [sys.executable, "-c", script, "predict", exported_folder, image, "--out", tmp_path / "out"],
        check=True,
        capture_output=True,
    )


def test_info_says_what_an_exported_model_is(exported_folder: Path) -> None:
    text = run("info", exported_folder).output
    assert "onnx, fp32, opset 18" in text
    assert "v2, 20 good images of sheet_metal" in text
    assert as_json("info", exported_folder)["kind"] == "onnx"


def test_other_commands_ask_for_the_fitted_model(exported_folder: Path, drawn: Path, tmp_path: Path) -> None:
    data = drawn / "sheet_metal"
    for command in (("evaluate", exported_folder, data), ("export", exported_folder, "--to", "onnx")):
        line = refused(*command, "--out", tmp_path / "out")
        assert "an exported model, which only predict and info take" in line


def test_options_that_an_exported_model_cannot_follow(
    exported_folder: Path, fitted_folder: Path, drawn: Path, tmp_path: Path
) -> None:
    predict = (
        "predict",
        exported_folder,
        drawn / "sheet_metal" / "train" / "good",
        "--out",
        tmp_path / "out",
    )
    assert "holds its backbone" in refused(*predict, "--backbone", "efficientnet-lite0")
    assert "runs on the CPU" in refused(*predict, "--device", "cuda")
    export = ("export", fitted_folder, "--to", "onnx", "--out", tmp_path / "out")
    assert "exported on the CPU" in refused(*export, "--device", "cuda")
    assert "no images there" in refused(*export, "--images", tmp_path)


def test_what_export_needs_is_named(
    fitted_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomalyvfm.export import writing

    monkeypatch.setattr(writing, "find_spec", lambda name: None if name == "openvino" else object())
    assert "needs openvino: pip install" in refused(
        "export", fitted_folder, "--to", "openvino", "--out", tmp_path / "out"
    )
