"""The folder as a whole: every file, whatever the data lacks."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomalyvfm.evaluation.reports.writing import FIGURES, save_report
from tests.evaluation.reports.reports import make_report, typical

AWKWARD: dict[str, dict[str, Any]] = {
    "no masks": {"scores": [0.0, 1.0, 3.0, 5.0], "labels": [0, 0, 1, 1], "masks": False},
    "only good": {"scores": [0.0, 1.0, 3.0], "labels": [0, 0, 0]},
    "only bad": {"scores": [0.0, 1.0, 3.0], "labels": [1, 1, 1]},
    "one image": {"scores": [4.0], "labels": [1], "learned": False},
    "constant scores": {"scores": [1.0] * 6, "labels": [0, 1] * 3},
    "one of each, far apart": {"scores": [-1e6, 1e6], "labels": [0, 1], "learned": False},
}


@pytest.mark.parametrize("case", AWKWARD)
def test_every_file_is_written_whatever_the_data_lacks(case: str, tmp_path: Path) -> None:
    report = make_report(tmp_path / "data", **AWKWARD[case])
    out = tmp_path / "out"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of empty ranges, lost glyphs and NaN
        save_report(report, out)
    assert {path.name for path in out.glob("[!.]*")} == {
        *FIGURES,
        "metrics.json",
        "performance_summary.txt",
        "report.html",
    }
    for name in FIGURES:
        with Image.open(out / name) as image:
            assert min(image.size) > 300
            assert np.asarray(image.convert("L")).std() > 5  # something is drawn
    text = (out / "performance_summary.txt").read_text(encoding="utf-8")
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    if case == "no masks":
        assert "no masks" in text


def test_file_names_of_any_kind_do_no_harm(tmp_path: Path) -> None:
    names = ["$x^{$.png", "<b>&amp;'\".png", "日本語.png", "line\nbreak\udcff.png"]
    report = make_report(tmp_path / "data", [0.0, 3.0, 4.0, 5.0], [0, 1, 1, 0], names=names)
    out = tmp_path / "out"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_report(report, out)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<b>&amp;" not in page
    assert "&lt;b&gt;&amp;amp;&#x27;&quot;.png" in page
    assert "日本語.png" in page
    assert "line?break?.png" in page


def test_the_same_report_gives_the_same_files(tmp_path: Path) -> None:
    report = typical(tmp_path / "data")
    written = []
    for name in ("one", "two"):
        save_report(report, tmp_path / name)
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert written[0] == written[1]
