"""`anomalyvfm synthesize`: files written, and one line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import as_json, refused, run
from tests.quick_detectors import good, save_images

SMALL = ("--image-size", "96", "--set", "synthesis.count=9")


@pytest.fixture
def can(tmp_path: Path) -> Path:
    return save_images(good(3, side=96), tmp_path / "can")


def test_pairs_a_listing_and_a_sheet_are_written(can: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = as_json("synthesize", can, "--out", out, *SMALL)
    assert said == {"out": str(out), "counts": {"texture": 3, "structural": 3, "contextual": 3}}
    assert sorted(p.name for p in out.glob("[!.]*")) == [
        "contact_sheet.png",
        "images",
        "masks",
        "synthetic.json",
    ]
    assert len(list((out / "images").iterdir())) == len(list((out / "masks").iterdir())) == 9
    line = run("synthesize", can, "--out", out, *SMALL, "--overwrite", "--preset", "v1.4").stdout
    assert line == f"3 texture, 3 structural, 3 contextual → {out}/contact_sheet.png\n"


def test_mistakes_are_one_line(can: Path, drawn: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    narrow = save_images([image[:8] for image in good(3, side=96)], tmp_path / "vial")
    one = save_images(good(1, side=96), tmp_path / "one")
    keep = ("--image-size", "32", "--set", "image.aspect=keep")
    expected = [
        ((can, *out, "--preset", "v2"), "v2 trains on no synthetic defects; choose --preset v1.1"),
        ((can, *out, "--preset", "v2", "--set", "synthesis.count=9"), "v2 trains on no synthetic defects"),
        ((can, *out, "--preset", "v1.5"), "unknown preset 'v1.5'"),
        ((can, *out, "--set", "synthesis.severity=2"), "less than or equal to 1"),
        ((can, *out, "--set", "synthesis.leave_out=noise"), "'texture', 'structural' or 'contextual'"),
        ((can, *out, "--image-size", "none"), "not a valid integer"),
        ((narrow, *out, *keep), "too small to put a synthetic defect into"),
        ((one, *out, *SMALL), "1 good image could be read; 2 are needed"),
        ((drawn, *out, *SMALL), "--category: fabric, sheet_metal"),
        ((drawn, *out, *SMALL, "--category", "fabrics"), "did you mean fabric?"),
        ((can, "--out", can, "--overwrite", *SMALL), "choose another --out"),
        ((can, "--out", one, *SMALL), "exists already"),
    ]
    for arguments, message in expected:
        assert message in refused("synthesize", *arguments)
    assert not (tmp_path / "out").exists()
    assert len(list(can.iterdir())) == 3
