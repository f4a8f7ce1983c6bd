"""comparison.json, .md and .png from runs made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomalyvfm.evaluation.compare import METRICS, Run
from anomalyvfm.evaluation.reports.comparison import markdown, summary, write_comparison
from anomalyvfm.metrics.image import auroc


def run(
    pipeline: str, category: str, seed: int = 0, auroc: float = 0.8, masks: bool = True, **rest: Any
) -> Run:
    metrics: dict[str, float | None] = dict.fromkeys(METRICS, auroc)
    if not masks:
        metrics |= {"aupro_0.30": None, "aupro_0.05": None, "pixel_auroc": None}
    facts: dict[str, Any] = {
        "layout": "mvtec_ad2_like",
        "fit_s": 4.0,
        "predict_s": 1.0,
        "training_s": 1.0,
        "images": 20,
        "scores": [],
        "labels": [],
    }
    return Run(pipeline, category, seed=seed, metrics=metrics, regular_auroc=auroc, **(facts | rest))


def failed(pipeline: str, category: str, seed: int = 0) -> Run:
    return Run(pipeline, category, "folder", seed, {}, None, 0, 0, 0, 0, [], [], "no image could be read")


def rows(text: str) -> dict[str, list[str]]:
    """The cells of the first table with three dashes or more, by pipeline."""
    lines = text[text.index("## image AUROC") :].split("\n\n")[1].splitlines()
    return {
        cells[0]: cells[1:] for cells in ([c.strip() for c in line.strip("|").split("|")] for line in lines)
    }


TWO = [
    run("v1.1", "can", 0, 0.8),
    run("v1.1", "can", 1, 0.9),
    run("v1.1", "gear", 0, 0.6),
    run("v1.1", "gear", 1, 0.5),
    run("v2", "can", 0, 0.95),
    run("v2", "can", 1, 0.97),
    run("v2", "gear", 0, 0.9),
    run("v2", "gear", 1, 0.92),
]


def test_averages_are_over_categories_seed_by_seed() -> None:
    found = summary(TWO)
    assert found["v1.1"]["image_auroc"] == {
        "mean": pytest.approx(0.7),
        "lowest": pytest.approx(0.7),
        "highest": pytest.approx(0.7),
        "categories": 2,
        "difference_to_v1.1": pytest.approx(0),
        "difference_interval": None,
        "difference_p_value": None,
        "difference_is_noise": None,
    }
    v2 = found["v2"]["image_auroc"]
    assert v2["lowest"] == pytest.approx(0.925)
    assert v2["highest"] == pytest.approx(0.945)
    assert v2["difference_to_v1.1"] == pytest.approx(0.235)
    assert found["v2"]["fit_ms_per_image"] == pytest.approx(200)
    assert found["v2"]["training_share_of_fit"] == pytest.approx(0.25)


def test_the_table_has_a_cell_for_each_category_the_average_and_the_difference() -> None:
    cells = rows(markdown(TWO))
    assert cells["pipeline"] == ["can", "gear", "average", "to v1.1"]
    assert cells["v1.1"][0] == "0.8500 (0.8000 to 0.9000)"
    assert cells["v2"][2:] == ["0.9350 (0.9250 to 0.9450)", "+0.2350"]
    assert "mean of 2 seeds (lowest to highest)" in markdown(TWO)
    assert "| v2 | 200 | 25% |" in markdown(TWO)
    one = [run("v1.1", "can", 4), run("v2", "can", 4, 0.7, training_s=0.0)]
    assert "seed 4" in markdown(one)
    assert rows(markdown(one))["v2"] == ["0.7000", "0.7000", "-0.1000"]
    assert "| v2 | 200 | none |" in markdown(one)


def test_without_v11_there_is_no_difference() -> None:
    assert rows(markdown([run("v2", "can"), run("v1.4", "can")]))["v2"] == ["0.8000", "0.8000", ""]


def test_a_difference_that_other_images_might_turn_round_is_marked_as_noise() -> None:
    labels = [0] * 30 + [1] * 30
    rng = np.random.default_rng(0)
    shared = rng.normal(size=60)

    def scored(pipeline: str, seed: int, quality: float) -> Run:
        scores = shared + quality * np.array(labels) + 0.3 * rng.normal(size=60)
        area = auroc(scores, labels).value
        assert area is not None
        return run(pipeline, "can", seed, area, scores=scores.tolist(), labels=labels)

    qualities = {"v1.1": 1.0, "v1.2": 1.02, "v2": 3.0}
    runs = [scored(name, seed, quality) for name, quality in qualities.items() for seed in (0, 1)]
    found = {name: entry["image_auroc"] for name, entry in summary(runs).items()}
    assert found["v1.2"]["difference_is_noise"] and not found["v2"]["difference_is_noise"]
    low, high = found["v2"]["difference_interval"]
    assert 0 < low < found["v2"]["difference_to_v1.1"] < high
    cells = rows(markdown(runs))
    assert cells["v1.2"][-1].endswith(", noise)") and cells["v2"][-1].endswith(f"to {high:+.4f})")
    assert cells["v1.1"][-1] == "+0.0000"
    assert "DeLong" in markdown(runs) and "DeLong" not in markdown(TWO)
    # Of one pipeline an image was unreadable: what is left does not compare image by image.
    unlike = [replace(one, labels=one.labels[1:]) if one.pipeline == "v2" else one for one in runs]
    assert summary(unlike)["v2"]["image_auroc"]["difference_is_noise"] is None


def test_only_categories_every_pipeline_has_a_value_for_are_averaged() -> None:
    runs = [
        *TWO,
        run("v1.1", "foam", 0, 0.1),
        run("v1.1", "foam", 1, 0.1),
        failed("v2", "foam"),
        failed("v2", "foam", 1),
    ]
    assert summary(runs)["v1.1"]["image_auroc"]["mean"] == pytest.approx(0.7)
    assert summary(runs)["v1.1"]["image_auroc"]["categories"] == 2
    assert rows(markdown(runs))["v2"][2] == "none"
    assert "## Without a result" in markdown(runs)
    assert "- v2, foam, seed 1: no image could be read" in markdown(runs)


def test_data_without_masks_gets_no_table_of_aupro() -> None:
    text = markdown([run("v1.1", "cells", masks=False)])
    assert "image AUROC" in text
    assert "AU-PRO" not in text


def test_reported_figures_stand_beside_runs_on_mvtec_ad_2_alone() -> None:
    text = markdown([run("v1.1", "can", layout="mvtec_ad2"), run("v1.1", "rice", layout="mvtec_ad2")])
    assert "reported, not measured" in text
    assert "can 0.5528" in text
    assert "walnuts" not in text
    assert "v1.4 0.5532" in text
    assert "reported" not in markdown([run("v1.1", "can", layout="folder")])


def test_three_files_are_written_and_agree(tmp_path: Path) -> None:
    text = write_comparison(TWO, tmp_path, {"v1.1": {"lora": {"rank": 16}}})
    assert (tmp_path / "comparison.md").read_text() == text
    body = json.loads((tmp_path / "comparison.json").read_text())
    assert [Run(**one) for one in body["runs"]] == TWO
    assert body["summary"]["v2"]["image_auroc"]["mean"] == pytest.approx(0.935)
    assert body["settings"] == {"v1.1": {"lora": {"rank": 16}}}
    with Image.open(tmp_path / "comparison.png") as picture:
        assert picture.width > picture.height > 200


@pytest.mark.parametrize(
    "runs",
    [
        [run("v1.1", "can", masks=False)],
        [run("v1.1", "can"), failed("v2", "can"), failed("v1.1", "gear"), run("v2", "gear")],
        [run(f"p{i}", "can", auroc=0.5 + 0.01 * i) for i in range(9)],
    ],
    ids=["no masks", "no category in common", "many pipelines"],
)
def test_a_figure_is_drawn_for_any_runs(runs: list[Run], tmp_path: Path) -> None:
    write_comparison(runs, tmp_path, {})
    with Image.open(tmp_path / "comparison.png") as picture:
        assert picture.height > 200


def test_no_figure_where_nothing_has_a_result(tmp_path: Path) -> None:
    text = write_comparison([failed("v1.1", "can")], tmp_path, {})
    assert "no image could be read" in text
    assert not (tmp_path / "comparison.png").exists()
