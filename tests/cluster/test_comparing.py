"""A comparison whose runs are made elsewhere is the comparison made here."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from anomalyvfm.cluster import comparing
from anomalyvfm.cluster.comparing import ClusterCompare
from anomalyvfm.cluster.workers import Cluster
from anomalyvfm.evaluation.compare import Run, compare, open_comparison, pipelines

from .here import Here

CATEGORIES = ["fabric", "sheet_metal"]
OVERRIDES = {
    "image.size": 64,
    "backbone": "efficientnet-lite0",
    "gaussian.dimensions": 32,
    "gaussian.scales": 1,
}


def untimed(run: Run) -> Run:
    return replace(run, fit_s=0, predict_s=0, training_s=0)


@pytest.mark.parametrize("capacity", [1, 8])
def test_runs_made_by_workers_are_found_where_a_comparison_looks_for_them(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capacity: int
) -> None:
    monkeypatch.setattr(comparing, "Workers", Here)
    monkeypatch.setattr(comparing, "connected", lambda cluster: nullcontext())
    monkeypatch.setattr(comparing, "capacity", lambda cluster, gpus: (capacity, []))
    compared = pipelines(["v2", "v1.1"], OVERRIDES, baseline=False, device="cpu")
    folders = [tmp_path / "here", tmp_path / "there"]
    given = drawn, CATEGORIES, compared, range(1)
    with open_comparison(folders[0], False), open_comparison(folders[1], False):
        expected = compare(*given, folders[0], "cpu")
        engine = ClusterCompare(Cluster())
        engine.compare(*given, folders[1], "cpu")
        assert engine.summary["parts"] == (2 if capacity == 1 else 4)
        assert len(list((folders[1] / "runs").glob("*.json"))) == 4
        said: list[str] = []
        found = compare(*given, folders[1], "cpu", said.append)
    assert not said  # no run was left to be made
    assert list(map(untimed, found)) == list(map(untimed, expected))
