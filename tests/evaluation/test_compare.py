"""Pipelines side by side: which runs are made, which are found again, and that sharing changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from anomalyvfm.data import open_dataset
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.evaluation import compare as comparison
from anomalyvfm.evaluation.compare import (
    METRICS,
    RUNS,
    Pipeline,
    Run,
    compare,
    open_comparison,
    pipelines,
    table,
)
from anomalyvfm.evaluation.evaluate import evaluate
from anomalyvfm.features import backbones
from tests.checkpoints import save_tiny_dinov2
from tests.quick_detectors import QUICK


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_dinov2(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "out"
    with open_comparison(out, overwrite=False):
        return out


class Made:
    """Runs that cost nothing, in place of fits, and a list of those asked for."""

    def __init__(self, failing: str = "") -> None:
        self.asked: list[tuple[str, str, int]] = []
        self.learned: list[tuple[str, ...]] = []
        self.failing = failing

    def __call__(self, pipeline: Pipeline, category: Any, seed: int, backbone: object, device: str) -> Run:
        self.asked.append((pipeline.label, category.name, seed))
        self.learned.append(tuple(sample.path.name for sample in category.train))
        error = "too few images" if pipeline.label == self.failing else None
        metrics: dict[str, float | None] = {} if error else dict.fromkeys(METRICS, 0.5)
        return Run(
            pipeline.label, category.name, category.layout, seed, metrics, None, 1, 1, 0, 9, [], [], error
        )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    instead = Made()
    monkeypatch.setattr(comparison, "_run", instead)
    return instead


def chosen(
    dinov2: Path,
    names: Sequence[str] = ("v1.1", "v2"),
    baseline: bool = True,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> list[Pipeline]:
    return pipelines(names, {"backbone": str(dinov2), **QUICK, **more}, baseline)


# ── which pipelines ────────────────────────────────────────────────────────────────────────────────


def test_frozen_features_come_once_for_all_versions_that_see_an_image_alike(dinov2: Path) -> None:
    labels = [one.label for one in chosen(dinov2, ("v1.1", "v1.2", "v1.3", "v1.4", "v2"))]
    assert sorted(labels) == sorted(
        ["v1.1", "v1.2", "v1.3", "v1.4", "v2", "frozen features", "frozen features, three scales"]
    )
    assert [one.label for one in chosen(dinov2, ("v2", "v1.4", "v1.4"), baseline=False)] == ["v2", "v1.4"]
    frozen = next(one for one in chosen(dinov2) if one.label == "frozen features")
    assert frozen.settings.model_dump()["lora"]["enabled"] is False


def test_a_setting_goes_to_the_presets_that_have_it(dinov2: Path) -> None:
    both = {one.label: one.settings.model_dump() for one in chosen(dinov2, more={"gaussian.patches": "2"})}
    assert both["v1.1"]["lora"]["rank"] == 4
    assert both["v2"]["gaussian"]["patches"] == 2
    assert both["v1.1"]["image"]["size"] == both["v2"]["image"]["size"] == 56


def test_a_setting_no_preset_has_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'gausian\.patches', did you mean 'gaussian\.patches'"):
        pipelines(["v2"], {"gausian.patches": 1}, baseline=True)
    with pytest.raises(InputError, match=r"unknown setting 'lora\.rank'"):
        pipelines(["v2"], {"lora.rank": 1}, baseline=True)
    with pytest.raises(InputError, match=r"unknown preset 'v1.5'"):
        pipelines(["v1.1", "v1.5"], {}, baseline=True)


# ── which runs ─────────────────────────────────────────────────────────────────────────────────────


def test_runs_that_are_there_are_not_made_again(drawn: Path, dinov2: Path, folder: Path, made: Made) -> None:
    names, few = ["fabric", "sheet_metal"], chosen(dinov2)
    first = compare(drawn, names, few, [0], folder, "cpu")
    assert len(made.asked) == len(first) == 6
    assert compare(drawn, names, few, [0], folder, "cpu") == first
    assert len(made.asked) == 6
    # Another seed, category, pipeline or setting is another run.
    compare(drawn, names, few, [1], folder, "cpu")
    assert len(made.asked) == 12
    compare(drawn, ["fabric"], chosen(dinov2, ("v1.4",), baseline=True), [0], folder, "cpu")
    assert made.asked[12:] == [("v1.4", "fabric", 0)]  # its frozen features are those of v1.1
    compare(drawn, ["fabric"], chosen(dinov2, more={"lora.rank": 5}), [0], folder, "cpu")
    assert made.asked[13:] == [("v1.1", "fabric", 0)]


def test_a_comparison_that_was_cut_off_goes_on_where_it_was(
    drawn: Path, dinov2: Path, folder: Path, made: Made
) -> None:
    first = compare(drawn, ["fabric"], chosen(dinov2), [0, 1], folder, "cpu")
    files = sorted((folder / RUNS).iterdir())
    assert len(files) == 6
    files[0].unlink()
    files[1].write_text(files[1].read_text()[:40])
    made.asked.clear()
    assert compare(drawn, ["fabric"], chosen(dinov2), [0, 1], folder, "cpu") == first
    assert len(made.asked) == 2
    assert sorted((folder / RUNS).iterdir()) == files


def test_other_images_are_other_runs(drawn: Path, dinov2: Path, folder: Path, made: Made) -> None:
    compare(drawn, ["fabric"], chosen(dinov2), [0], folder, "cpu")
    first = next((drawn / "fabric" / "train" / "good").iterdir())
    first.touch()
    compare(drawn, ["fabric"], chosen(dinov2), [0], folder, "cpu")
    assert len(made.asked) == 6


def test_seeds_learn_different_shares_the_same_for_all_pipelines(
    drawn: Path, dinov2: Path, folder: Path, made: Made
) -> None:
    compare(drawn, ["fabric"], chosen(dinov2), [0, 1], folder, "cpu")
    by_seed = [set(made.learned[:3]), set(made.learned[3:])]
    assert [len(shares) for shares in by_seed] == [1, 1]
    assert by_seed[0] != by_seed[1]
    assert {len(share) for shares in by_seed for share in shares} == {18}  # of 20
    made.learned.clear()
    compare(drawn, ["fabric"], chosen(dinov2), [5], folder, "cpu")
    assert {len(share) for share in made.learned} == {20}


def test_a_run_without_a_result_stops_no_other_and_is_tried_again(
    drawn: Path, dinov2: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(failing="v1.1")
    monkeypatch.setattr(comparison, "_run", made)
    for _ in range(2):
        runs = compare(drawn, ["fabric", "sheet_metal"], chosen(dinov2), [0], folder, "cpu")
        assert [run.error is None for run in runs].count(False) == 2
        assert len(table(runs, "image_auroc")) == 2
    assert len(made.asked) == 6 + 2


def test_out_is_made_continued_or_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_comparison(out, overwrite=False):
        (out / RUNS / "x.json").write_text("{}")
    with open_comparison(out, overwrite=False):
        assert (out / RUNS / "x.json").exists()
        with pytest.raises(InputError, match="another run"), open_comparison(out, overwrite=False):
            pass
    with open_comparison(out, overwrite=True):
        assert not list((out / RUNS).iterdir())
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("")
    with pytest.raises(InputError, match="exists already"), open_comparison(other, overwrite=False):
        pass
    with pytest.raises(InputError, match=r"letter\.txt"), open_comparison(other, overwrite=True):
        pass
    assert (other / "letter.txt").exists()


# ── what a run is ──────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_what_fit_and_evaluate_give_alone(drawn: Path, dinov2: Path, folder: Path) -> None:
    """Features known from another pipeline change no number but the times."""
    calls: list[str] = []
    runs = compare(drawn, ["sheet_metal"], chosen(dinov2, ("v1.1", "v1.3")), [3], folder, "cpu", calls.append)
    assert calls == [f"sheet_metal, seed 3: {run.pipeline}" for run in runs]
    for run, pipeline in zip(runs, chosen(dinov2, ("v1.1", "v1.3")), strict=True):
        category = open_dataset(drawn, "sheet_metal", 3)
        detector = Detector(pipeline.settings, device="cpu", seed=3).fit(category)
        metrics = evaluate(detector, category).metrics
        assert run.metrics == {name: metrics[name] for name in METRICS}
        assert run.regular_auroc == metrics["by_condition"]["regular"]["image_auroc"]
        assert (run.pipeline, run.category, run.seed, run.error) == (
            pipeline.label,
            "sheet_metal",
            3,
            None,
        )
        assert run.images == detector.pipeline_.learned.total()
        assert run.fit_s > run.training_s >= 0
        assert (run.training_s > 0) == (detector.pipeline_.describe()["adaptation"] is not None)
    stored = [json.loads(path.read_text()) for path in (folder / RUNS).iterdir()]
    assert sorted(one["pipeline"] for one in stored) == sorted(run.pipeline for run in runs)


def test_lora_inside_the_encoder_leaves_the_shared_backbone_alone(
    drawn: Path, dinov2: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    load = backbones.load

    def kept(*args: Any, **settings: Any) -> Any:
        loaded.append(load(*args, **settings))
        return loaded[-1]

    monkeypatch.setattr(backbones, "load", kept)
    inside = chosen(dinov2, ("v1.1",), more={"lora.where": "encoder"})
    runs = compare(drawn, ["sheet_metal"], inside, [0], folder, "cpu")
    assert [run.error for run in runs] == [None, None]
    assert len(loaded) == 2
    assert not any("lora" in name for name, _ in loaded[0].model.named_modules())
    assert any("lora" in name for name, _ in loaded[1].model.named_modules())


def test_what_a_pipeline_cannot_do_is_its_error_and_the_others_run(
    drawn: Path, dinov2: Path, folder: Path
) -> None:
    inside = [
        Pipeline(one.label, one.settings.override({"lora.where": "encoder"})) if one.label == "v1.3" else one
        for one in chosen(dinov2, ("v1.3", "v2"), baseline=False)
    ]
    failed, fine = compare(drawn, ["sheet_metal"], inside, [0], folder, "cpu")
    assert failed.error is not None
    assert "v1.3 joins features of several scales" in failed.error
    assert fine.error is None
    assert fine.metrics["image_auroc"] is not None
    assert [json.loads(path.read_text())["pipeline"] for path in (folder / RUNS).iterdir()] == ["v2"]


def test_tables_hold_the_values_of_each_seed_and_no_missing_ones() -> None:
    run = Run("a", "can", "mvtec_ad2", 0, {"image_auroc": 0.7, "aupro_0.30": None}, None, 1, 1, 0, 5, [], [])
    runs = [run, replace(run, seed=1, metrics={"image_auroc": 0.9}), replace(run, metrics={}, error="no")]
    assert table(runs, "image_auroc") == {"a": {"can": [0.7, 0.9]}}
    assert table(runs, "aupro_0.30") == {}
