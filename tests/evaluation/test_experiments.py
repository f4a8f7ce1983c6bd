"""What is logged, as MLflow and Weights & Biases have it afterwards."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from anomalyvfm.errors import InputError
from anomalyvfm.evaluation import experiments
from anomalyvfm.evaluation.experiments import Logged, numbers, open_log
from tests.cli.commands import refused, run
from tests.waiting import until

RESULTS = {
    "image_auroc": 0.9,
    "n_good": 20,
    "seg_f1": None,
    "layout": "folder",
    "may": True,
    "intervals": {"image_auroc": [0.8, 0.95]},
    "by_kind": {"löchrig, groß!": {"image_auroc": 0.7}},
    "scores": [1.0, 2.0],
    "peak": float("nan"),
}


@pytest.fixture
def mlflow_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a store of MLflow's in a folder."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/mlruns")
    yield mlflow.MlflowClient()


def runs_of(client: Any, experiment: str) -> dict[str, Any]:
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return {one.info.run_name: one for one in found}


def offline_records(folder: Path) -> Iterator[Any]:
    """What Weights & Biases was told: a log in the format of LevelDB, of messages."""
    from wandb.proto import wandb_internal_pb2

    for place in sorted(folder.glob("offline-run-*/run-*.wandb")):
        content, at, message = place.read_bytes(), 7, b""
        while at + 7 <= len(content):
            left = 32768 - at % 32768
            if left < 7:
                at += left
                continue
            _, size, kind = struct.unpack("<IHB", content[at : at + 7])
            if at + 7 + size > len(content):  # it is being written
                break
            message = (b"" if kind in (1, 2) else message) + content[at + 7 : at + 7 + size]
            at += 7 + size
            if kind in (1, 4):
                record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]  # made as it is loaded
                record.ParseFromString(message)
                yield record


def as_mapping(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def test_numbers_are_found_wherever_they_are() -> None:
    assert dict(numbers(RESULTS)) == {
        "image_auroc": 0.9,
        "n_good": 20.0,
        "intervals/image_auroc/low": 0.8,
        "intervals/image_auroc/high": 0.95,
        "by_kind/löchrig, groß!/image_auroc": 0.7,
    }


def test_mlflow_has_what_was_logged(mlflow_at: Any, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    many: Mapping[str, Any] = {"image": {"size": 128}, "long": "x" * 9000, **{f"s{n}": n for n in range(150)}}
    results = {**RESULTS, "by_place": {str(number): number for number in range(150)}}
    inner = Logged("v2 on gear, seed 0", {"seed": 0}, {"image_auroc": 0.5})
    log = open_log("mlflow:gears")
    log.add(Logged("a comparison", many, results, [tmp_path / "metrics.json"], [inner]))
    found = runs_of(mlflow_at, "gears")
    outer = found["a comparison"]
    assert outer.info.status == "FINISHED"
    assert outer.data.params["image.size"] == "128" and len(outer.data.params) == 152
    assert outer.data.metrics["image_auroc"] == 0.9 and len(outer.data.metrics) == 155
    assert outer.data.metrics["by_kind/löchrig_ groß_/image_auroc"] == 0.7
    assert [file.path for file in mlflow_at.list_artifacts(outer.info.run_id)] == ["metrics.json"]
    below = found["v2 on gear, seed 0"]
    assert below.data.metrics == {"image_auroc": 0.5}
    assert below.data.tags["mlflow.parentRunId"] == outer.info.run_id


def test_wandb_has_what_was_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb").teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    (tmp_path / "metrics.json").write_text("{}")
    inner = Logged("v2 on gear, seed 0", {"seed": 0}, {"image_auroc": 0.5})
    log = open_log("wandb:gears")
    log.add(Logged("a comparison", {"image": {"size": 128}}, RESULTS, [tmp_path / "metrics.json"], [inner]))
    told: dict[str, list[Any]] = {}

    def both_are_told() -> bool:  # a process of its own writes them, an end last, and may still be at it
        told.clear()
        for record in offline_records(tmp_path / "wandb"):
            told.setdefault(record.WhichOneof("record_type"), []).append(record)
        return len(told.get("exit", ())) == 2

    until(both_are_told)
    runs = {record.run.display_name: record.run for record in told["run"]}
    assert set(runs) == {"a comparison", "v2 on gear, seed 0"}
    assert {one.project for one in runs.values()} == {"gears"}
    assert len({one.run_group for one in runs.values()}) == 1
    assert as_mapping(runs["a comparison"].config.update)["image.size"] == 128
    logged = [as_mapping(record.history.item) for record in told["history"]]
    assert sorted(one["image_auroc"] for one in logged) == [0.5, 0.9]
    (artifact,) = [record.artifact for record in told["artifact"]]
    assert [entry.path for entry in artifact.manifest.contents] == ["metrics.json"]


def test_evaluate_and_compare_log_what_they_measured(
    mlflow_at: Any, drawn: Path, fitted_folder: Path, tmp_path: Path
) -> None:
    data = drawn / "sheet_metal"
    said = run("evaluate", fitted_folder, data, "--out", tmp_path / "e", "--log", "mlflow:gears", "--json")
    assert said.exit_code == 0, said.output
    metrics = json.loads(said.stdout)  # nothing else is printed
    (found,) = runs_of(mlflow_at, "gears").values()
    assert found.data.metrics["image_auroc"] == metrics["image_auroc"]
    assert found.data.params["category"] == metrics["category"]
    assert (
        found.data.params["model.sha256"] == json.loads((fitted_folder / "model.json").read_text())["sha256"]
    )
    files = {file.path for file in mlflow_at.list_artifacts(found.info.run_id)}
    assert {"metrics.json", "report.html", "roc_curves.png"} <= files

    command = ("compare", drawn, "--out", tmp_path / "c", "--presets", "v2", "--categories", "sheet_metal")
    said = run(*command, "--image-size", "64", "--log", "mlflow:compared")
    assert said.exit_code == 0, said.output
    compared = runs_of(mlflow_at, "compared")
    inner = compared["v2 on sheet_metal, seed 0"]
    (one,) = json.loads((tmp_path / "c" / "comparison.json").read_text())["runs"]
    assert inner.data.metrics["image_auroc"] == one["metrics"]["image_auroc"]
    assert (inner.data.params["pipeline"], inner.data.params["image.size"]) == ("v2", "64")
    (outer,) = [found for name, found in compared.items() if name != "v2 on sheet_metal, seed 0"]
    assert inner.data.tags["mlflow.parentRunId"] == outer.info.run_id
    assert outer.data.metrics["v2/image_auroc/mean"] == one["metrics"]["image_auroc"]


@pytest.mark.parametrize("target", ["", "mlflow", "mlflow:", "tensorboard:x", "wandb: "])
def test_a_target_that_is_none_is_said_before_anything_is_measured(
    fitted_folder: Path, drawn: Path, tmp_path: Path, target: str
) -> None:
    said = refused("evaluate", fitted_folder, drawn / "sheet_metal", "--out", tmp_path / "e", "--log", target)
    assert said.startswith(f"error: --log {target}: write mlflow:EXPERIMENT or wandb:PROJECT")
    assert not (tmp_path / "e").exists()


def test_what_is_not_there_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"--log mlflow:gears: .*127\.0\.0\.1:9") as said:
        open_log("mlflow:gears")
    assert "\n" not in str(said.value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(InputError, match="which server"):
        open_log("mlflow:gears")
    wandb.teardown()  # it remembers how it was set up first
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", "/nowhere")
    with pytest.raises(InputError, match="nobody is signed in; set WANDB_API_KEY"):
        open_log("wandb:gears")
    monkeypatch.setattr(experiments, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"wandb is not installed; pip install 'anomalyvfm\[wandb\]'"):
        open_log("wandb:gears")


def test_a_server_that_goes_away_costs_no_results(
    mlflow_at: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log("mlflow:gears")

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError("gone\naway")

    monkeypatch.setattr(type(mlflow_at), "create_run", away)
    with pytest.raises(InputError, match="mlflow:gears: the results are kept, but not logged: gone away"):
        log.add(Logged("one", {}, {}))
