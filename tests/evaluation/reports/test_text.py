"""performance_summary.txt and what stands in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalyvfm.evaluation.reports.page import render_page
from anomalyvfm.evaluation.reports.text import (
    AVERAGE_AUROC,
    CATEGORY_AUROC,
    METRIC_NAMES,
    chance_of_so_many,
    compare_with_reported,
    promise_lines,
    summary_text,
)
from tests.evaluation.reports.reports import AGAINST, make_report, typical


def test_summary_holds_every_metric_with_its_interval(tmp_path: Path) -> None:
    report = typical(tmp_path)
    lines = summary_text(report).splitlines()
    for name, text in METRIC_NAMES.items():
        line = next(line for line in lines if line.startswith(f"{text} "))
        value = report.metrics[name]
        assert ("null" if value is None else f"{value:.4f}") in line
        if interval := report.metrics["intervals"].get(name):
            assert f"{interval[0]:.4f} to {interval[1]:.4f}" in line
        if reason := report.metrics["reasons"].get(name):
            assert reason in line


def test_the_oddest_good_images_are_named_where_a_model_tells_them(tmp_path: Path) -> None:
    report = typical(tmp_path)
    fitted = {key: value for key, value in report.model["fitted_on"].items() if key != "oddest"}
    report.model["fitted_on"] = fitted
    assert "oddest" not in summary_text(report) + render_page(report, "", {})
    fitted["oddest"] = [{"image": f"a\n<{n}>.png", "score": 6.25 - n} for n in range(5)]
    assert "oddest good images  a?<0>.png 6.2, a?<1>.png 5.2, a?<2>.png 4.2 (by models" in summary_text(
        report
    )
    assert "a?&lt;2&gt;.png 4.2" in render_page(report, "", {})


def test_a_group_that_is_the_whole_test_set_is_not_repeated(tmp_path: Path) -> None:
    assert "By kind of defect" not in summary_text(typical(tmp_path))
    text = summary_text(typical(tmp_path, kinds=["a", "b"] * 8, conditions=["regular"] * 15 + [None]))
    assert "By kind of defect" in text
    assert "By condition" in text  # it lacks an image


def test_groups_fit_a_mail_and_tell_the_pixel_metrics_that_there_are(tmp_path: Path) -> None:
    report = typical(tmp_path, conditions=["regular", "underexposed"] * 8, kinds=["a" * 80, "b"] * 8)
    for group in report.metrics["by_condition"].values():
        group |= {"aupro_0.05": 0.4321, "seg_f1": None}
    lines = summary_text(report).splitlines()
    assert max(map(len, lines)) <= 110
    row = next(line for line in lines if line.startswith("underexposed"))
    auroc = report.metrics["by_condition"]["underexposed"]["image_auroc"]
    assert row.split()[:4] == ["underexposed", "4", "4", f"{auroc:.4f}"]
    assert row.split()[-2:] == ["0.4321", "null"]
    kind = next(line for line in lines if line.startswith("aaa"))
    assert "AU-PRO" not in lines[lines.index(kind) - 1]


def test_skipped_images_are_named_and_names_break_no_line(tmp_path: Path) -> None:
    skipped = ["a\nb.png: damaged", *(f"{i}.png: empty" for i in range(60))]
    lines = summary_text(typical(tmp_path, skipped=skipped)).splitlines()
    assert "a?b.png: damaged" in lines
    assert lines[-1] == "and 11 more; metrics.json names them all"


def test_reported_numbers_stand_beside_a_run_on_the_same_category_only(tmp_path: Path) -> None:
    auroc = f"{typical(tmp_path).metrics['image_auroc']:.4f}"
    text = summary_text(typical(tmp_path))
    assert "reported, not measured" in text
    row = next(line for line in text.splitlines() if "0.5528" in line)
    assert row.split() == ["image", "AUROC", "0.5528", auroc]
    assert "reported" not in summary_text(typical(tmp_path, category="rice"))
    assert "reported" not in summary_text(typical(tmp_path, layout="mvtec_ad"))


def test_the_reported_average_is_that_of_the_reported_categories() -> None:
    assert np.mean(list(CATEGORY_AUROC.values())) == pytest.approx(AVERAGE_AUROC["v1.1"], abs=5e-5)


def test_fruit_jelly_has_a_reported_aupro_and_a_metric_not_measured_stays_none() -> None:
    rows = compare_with_reported("mvtec_ad2", "fruit_jelly", {"image_auroc": 0.9})
    assert [(row.metric, row.reported, row.measured) for row in rows] == [
        ("image_auroc", 0.6492, 0.9),
        ("aupro_0.30", 0.7806, None),
    ]


@pytest.mark.parametrize(("calibrated_on", "good", "rate", "alarms"), [(100, 50, 0.01, 2), (40, 30, 0.1, 5)])
def test_chance_of_false_alarms_agrees_with_simulation(
    calibrated_on: int, good: int, rate: float, alarms: int
) -> None:
    rng = np.random.default_rng(0)
    draws = rng.random((40_000, calibrated_on + good))
    rank = int(np.ceil((calibrated_on + 1) * (1 - rate)))
    threshold = np.sort(draws[:, :calibrated_on], axis=1)[:, rank - 1]
    seen = (draws[:, calibrated_on:] > threshold[:, None]).sum(1)
    assert chance_of_so_many(alarms, good, calibrated_on, rate) == pytest.approx(
        (seen >= alarms).mean(), abs=0.01
    )
    assert chance_of_so_many(0, good, calibrated_on, rate) == pytest.approx(1)


def test_the_promise_is_set_against_what_was_observed(tmp_path: Path) -> None:
    kept = " ".join(promise_lines(typical(tmp_path)))
    assert "at most 1.00%" in kept
    assert "1 of 8 good test images rejected, 12.50%" in kept
    assert "in keeping with the promise" in kept
    broken = " ".join(promise_lines(make_report(tmp_path, [9.0] * 8, [0] * 8)))
    assert "they differ, in lighting, camera or production" in broken
    few = " ".join(promise_lines(typical(tmp_path, calibration=20)))
    assert "Aimed at, not promised" in few
    assert "99 are needed" in few
    none = " ".join(promise_lines(make_report(tmp_path, [9.0] * 2, [1] * 2)))
    assert "Observed: nothing (no good images)" in none


def test_differences_to_another_model_are_told_with_what_is_noise(tmp_path: Path) -> None:
    text = summary_text(typical(tmp_path, against=AGAINST))
    section = text.split("Against models/<other>\n")[1].split("\n\n")[0].splitlines()
    assert "0.9100 0.8800 +0.0300 -0.0100 to +0.0700 0.142 noise" in " ".join(section[2].split())
    assert section[3].endswith("0.001") and max(map(len, section)) <= 100
    nothing = {**AGAINST, "metrics": {}, "reason": "needs two good images"}
    text = summary_text(typical(tmp_path, against=nothing))
    assert "No difference: needs two good images." in text
    assert "Against" not in summary_text(typical(tmp_path))
