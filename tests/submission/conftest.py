"""Models of two drawn categories and the submission made with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomalyvfm.detector import Detector
from anomalyvfm.submission import data_targets
from tests.conftest import SMALL
from tests.submission.commands import run

# A load is quick with few dimensions, and every category takes several batches, the last one short.
QUICK = SMALL | {"gaussian.dimensions": 12, "batch": 3}


@pytest.fixture(scope="session")
def fitted(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each drawn category, in sub-folders of other names."""
    root = tmp_path_factory.mktemp("submission") / "models"
    for folder, category in (("one", "sheet_metal"), ("two", "fabric")):
        Detector("v2", QUICK, device="cpu").fit(drawn / category).save(root / folder)
    (root / "notes.txt").write_text("not a model")
    (root / "figures").mkdir()
    return root


@pytest.fixture(scope="session")
def submitted(fitted: Path, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A submission of the drawn categories, written by the command. Not to be changed."""
    out = tmp_path_factory.mktemp("submitted") / "out"
    result = run(fitted, drawn, "--out", out, "--device", "cpu", "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    said = json.loads(result.stdout)
    assert said["archive"] == str(out / "submission.tar.gz")
    assert said["categories"] == ["fabric", "sheet_metal"]
    assert said["images"] == said["judged"] == len(data_targets(drawn))
    assert not said["complete"]
    assert "not all images of MVTec AD 2" in result.stderr
    return out
