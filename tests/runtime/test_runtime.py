"""Exported folders judged without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anomalyvfm.data import ImageError, ImageSource
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.runtime import load
from anomalyvfm.sealed import digest, seal
from tests.quick_detectors import good

_BARE = """
import sys
for name in ("torch", "transformers", "scipy", "PIL", "pydantic", "click", "matplotlib", "typing_extensions"):
    sys.modules[name] = None  # importing it raises
import numpy as np
from anomalyvfm import runtime
from anomalyvfm.errors import InputError

model = runtime.load(sys.argv[1], threads=1)
image = np.load(sys.argv[2])
verdict = model.predict([image])[0]
print(verdict.score, verdict.p_value, verdict.anomalous, verdict.threshold, verdict.map.shape)
for refused in (lambda: model.predict(["a.png"]), lambda: verdict.regions):
    try:
        refused()
    except InputError as error:
        print(error)
"""


def changed(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_numpy_and_onnxruntime_are_enough_for_arrays(
    fitted_folder: Path, exported_folder: Path, tmp_path: Path
) -> None:
    spoiled = good(1, side=96)[0].copy()
    spoiled[20:60, 20:60] = (200, 30, 30)
    np.save(tmp_path / "image.npy", spoiled)
    command = [sys.executable, "-c", _BARE, str(exported_folder), str(tmp_path / "image.npy")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    verdict = Detector.load(fitted_folder, device="cpu").predict([spoiled])[0]
    score, p_value, anomalous, threshold, *shape = said[0].split(maxsplit=4)
    assert float(score) == pytest.approx(verdict.score, abs=0.01)
    assert float(p_value) == pytest.approx(verdict.p_value, abs=1e-6)
    assert (anomalous, float(threshold)) == ("True", verdict.threshold)
    assert shape == ["(96, 96)"]
    assert "pip install pillow" in said[1]
    assert "pip install scipy" in said[2]
    assert len(said) == 3


def test_order_holds_and_a_bad_input_gives_its_own_error(exported_folder: Path) -> None:
    images = good(20, seed=2, side=96)
    wrong: list[ImageSource] = [
        np.zeros((2, 96, 96, 3), np.uint8),
        np.zeros((96, 96, 3), np.complex64),
        b"no image",
    ]
    mixed: list[ImageSource] = [*images[:9], *wrong, *images[9:]]
    runtime = load(exported_folder, threads=1)
    outcomes = [outcome for _, outcome in runtime.judge(iter(mixed))]
    assert [isinstance(outcome, ImageError) for outcome in outcomes] == [9 <= i < 12 for i in range(23)]
    assert all("\n" not in str(outcome) for outcome in outcomes[9:12])
    alone = [runtime.predict([image])[0].score for image in images]
    together = [outcome.score for outcome in outcomes if not isinstance(outcome, ImageError)]
    np.testing.assert_allclose(together, alone, atol=1e-3)


def test_a_missing_changed_or_foreign_folder_is_one_line(exported_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"export\.json is missing"):
        load(tmp_path)
    missing = changed(exported_folder, tmp_path / "missing")
    (missing / "model.onnx").unlink()
    with pytest.raises(InputError, match=r"model\.onnx: cannot be read"):
        load(missing)
    cut = changed(exported_folder, tmp_path / "cut")
    (cut / "model.onnx").write_bytes((cut / "model.onnx").read_bytes()[:-1])
    with pytest.raises(InputError, match=r"model\.onnx: truncated or changed"):
        load(cut)
    edited = changed(exported_folder, tmp_path / "edited")
    manifest = json.loads((edited / "export.json").read_text())
    manifest["calibration"]["threshold"] += 1
    (edited / "export.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"export\.json: changed since"):
        load(edited)
    newer = {**manifest, "schema_version": 99}
    (edited / "export.json").write_text(json.dumps(newer))
    with pytest.raises(InputError, match="schema 99"):
        load(edited)


def test_a_graph_the_runtime_is_too_old_for_is_one_line(exported_folder: Path, tmp_path: Path) -> None:
    import onnx

    folder = changed(exported_folder, tmp_path / "newer")
    model = onnx.load(folder / "model.onnx")
    model.ir_version = 99
    onnx.save(model, folder / "model.onnx")
    manifest = json.loads((folder / "export.json").read_text())
    manifest["files"]["model.onnx"] = digest(folder / "model.onnx")
    manifest["sha256"] = seal(manifest)
    (folder / "export.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="cannot load it") as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_a_runtime_that_is_not_installed_is_named(
    exported_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="pip install onnxruntime"):
        load(exported_folder)


def test_drift_is_tested_as_by_the_detector(fitted_folder: Path, exported_folder: Path) -> None:
    ours, theirs = (
        judge.drift_test(500) for judge in (Detector.load(fitted_folder, device="cpu"), load(exported_folder))
    )
    assert ours.as_dict() == theirs.as_dict()
