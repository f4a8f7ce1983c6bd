"""`anomalyvfm compare`: files written, continued by the same command, one line for each mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.checkpoints import save_tiny_dinov2
from tests.cli.commands import as_json, refused, run
from tests.quick_detectors import QUICK


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[str, ...]:
    settings = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    return ("--backbone", str(save_tiny_dinov2(tmp_path / "tiny")), "--device", "cpu", *settings)


def test_a_comparison_is_written_and_continued(drawn: Path, tmp_path: Path, tiny: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    base = ("compare", drawn, "--out", out, "--categories", "sheet_metal", *tiny)
    said = as_json(*base, "--presets", "v1.1")
    assert [run["pipeline"] for run in said["runs"]] == ["v1.1", "frozen features"]
    assert said == json.loads((out / "comparison.json").read_text())
    assert sorted(p.name for p in out.glob("[!.]*")) == [
        "comparison.json",
        "comparison.md",
        "comparison.png",
        "runs",
    ]
    kept = {path: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    text = run(*base, "--presets", "v1.1, v2", "--no-baseline").stdout
    assert text == (out / "comparison.md").read_text() + f"→ {out}\n"
    assert "| v2 |" in text
    assert "frozen" not in text
    assert len(list((out / "runs").iterdir())) == 3
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())


def test_a_single_category_is_compared_too(drawn: Path, tmp_path: Path, tiny: tuple[str, ...]) -> None:
    given = ("--out", tmp_path / "out", "--presets", "v2", *tiny[:-4])
    settings = ("--set", "image.size=56")
    said = as_json("compare", drawn / "sheet_metal", *given[:8], *settings)
    assert [run["category"] for run in said["runs"]] == ["sheet_metal"]


def test_a_pipeline_that_fails_is_told_beside_those_that_do_not(
    drawn: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    base = ("compare", drawn, "--out", tmp_path / "out", "--categories", "sheet_metal", *tiny)
    inside = ("--no-baseline", "--set", "lora.where=encoder")
    text = run(*base, "--presets", "v1.3,v2", *inside).stdout
    assert "- v1.3, sheet_metal, seed 0: v1.3 joins features of several scales" in text
    assert "| v2 |" in text
    line = refused(*base, "--presets", "v1.3", *inside)
    assert "no pipeline gave a result; the first: v1.3 joins features of several scales" in line


def test_mistakes_are_one_line(drawn: Path, tmp_path: Path, tiny: tuple[str, ...]) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("")
    out = ("--out", tmp_path / "out")
    expected = [
        ((drawn, *out, "--categories", "fabrik"), "did you mean fabric?"),
        ((drawn, *out, "--categories", "fabric,"), "no category"),
        ((drawn, *out, "--set", "lora.rnak=8"), "did you mean 'lora.rank'?"),
        ((drawn, *out, "--presets", "v2", "--set", "lora.rank=8"), "unknown setting 'lora.rank'"),
        ((drawn, *out, "--set", "lora.rank=many"), "setting lora.rank='many'"),
        ((drawn, *out, "--presets", "v1"), "unknown preset 'v1'"),
        ((drawn, *out, "--presets", ""), "unknown preset ''"),
        ((drawn, *out, "--seeds", "0"), "--seeds"),
        ((drawn, "--out", other), "exists already"),
        ((drawn, "--out", drawn, "--overwrite"), "choose another --out"),
        ((tmp_path / "nowhere", *out), "no such folder"),
        ((drawn / "fabric" / "train" / "good", *out, *tiny), "no labelled test images"),
    ]
    for arguments, message in expected:
        assert message in refused("compare", *arguments)
    assert (other / "letter.txt").exists()
