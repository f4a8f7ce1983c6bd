"""`anomalyvfm fit --engine ray` as typed, and its options where they mean nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .commands import QUICK, as_json, refused, run


def test_a_fit_on_ray_says_what_each_worker_did_and_leaves_a_usual_model(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    given = (drawn / "sheet_metal", *QUICK)
    told = as_json("fit", *given, "--out", tmp_path / "there", "--engine", "ray", "--workers", 1)
    here = as_json("fit", *given, "--out", tmp_path / "here")
    assert told["cluster"]["parts"] == 1 and told["cluster"]["images"] == 20
    (worker,) = told["cluster"]["workers"].values()
    assert worker["images"] == 20 and worker["images_per_second"] > 0
    assert told["calibration"]["threshold"] == pytest.approx(here["calibration"]["threshold"], rel=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]  # no parts are left
    assert run("info", tmp_path / "there").exit_code == 0


def test_options_that_mean_nothing_are_refused(drawn: Path, tmp_path: Path) -> None:
    fit = ("fit", drawn / "sheet_metal", "--out", tmp_path / "model")
    assert "--workers: of workers on Ray" in refused(*fit, "--workers", 2)
    assert "--address: of workers on Ray" in refused(*fit, "--address", "localhost:6379")
    assert "--resume: a fit is gone on with by --engine ray" in refused(*fit, "--resume")
    assert "--engine ray: v1.3 is trained" in refused(*fit, "--engine", "ray", "--preset", "v1.3")
    assert not (tmp_path / "model").exists()


def test_without_ray_the_way_to_it_is_told(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    line = refused("fit", drawn / "sheet_metal", *QUICK, "--out", tmp_path / "model", "--engine", "ray")
    assert "Ray is not installed; pip install 'anomalyvfm[ray]'" in line
