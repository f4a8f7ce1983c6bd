from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score

from anomalyvfm.metrics.image import auroc, average_precision, best_f1, decision_metrics, image_metrics, sweep

NAMES = {"image_auroc", "image_ap", "image_f1", "class_f1", "false_alarm_rate", "detection_rate"}


@st.composite
def scored(draw: st.DrawFn) -> tuple[list[float], list[bool]]:
    """Scores, many of them tied, with labels of both kinds."""
    labels = [True, False, *draw(st.lists(st.booleans(), max_size=30))]
    values = st.integers(0, 4).map(float) | st.floats(-1e6, 1e6)
    return draw(st.lists(values, min_size=len(labels), max_size=len(labels))), labels


@settings(max_examples=50, deadline=None)
@given(scored())
def test_ranking_metrics_equal_scikit_learn(data: tuple[list[float], list[bool]]) -> None:
    scores, labels = data
    assume(len(set(scores)) > 1)
    assert auroc(scores, labels).value == pytest.approx(roc_auc_score(labels, scores))
    assert average_precision(scores, labels).value == pytest.approx(average_precision_score(labels, scores))
    metric, threshold = best_f1(scores, labels)
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert metric.value == pytest.approx(
        (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
    )
    assert threshold is not None
    assert f1_score(labels, np.array(scores) >= threshold) == pytest.approx(metric.value)


@settings(max_examples=50, deadline=None)
@given(scored())
def test_a_strictly_monotone_transform_leaves_auroc_unchanged(data: tuple[list[float], list[bool]]) -> None:
    scores, labels = data
    ranks = np.unique(scores, return_inverse=True)[1]
    assert auroc(ranks**3, labels) == auroc(scores, labels)


@settings(max_examples=50, deadline=None)
@given(scored())
def test_decision_metrics_equal_their_definitions(data: tuple[list[float], list[bool]]) -> None:
    scores, labels = data
    found, truth = np.array(scores) > 1, np.array(labels)
    metrics = decision_metrics(found, truth)
    assert metrics["class_f1"].value == pytest.approx(f1_score(truth, found, zero_division=0))
    assert metrics["false_alarm_rate"].value == pytest.approx(found[~truth].mean())
    assert metrics["detection_rate"].value == pytest.approx(found[truth].mean())


@settings(max_examples=50, deadline=None)
@given(scored(), st.integers(0, 1000))
def test_a_resample_counts_each_image_as_often_as_it_was_drawn(
    data: tuple[list[float], list[bool]], seed: int
) -> None:
    scores, labels = np.array(data[0]), np.array(data[1])
    drawn = np.random.default_rng(seed).integers(0, 4, (3, len(labels)))
    drawn[:, :2] = 1  # both kinds stay present
    swept = sweep(scores, labels, drawn)
    for row, area, ap in zip(drawn, swept.auroc(), swept.average_precision(), strict=True):
        assert area == pytest.approx(roc_auc_score(labels, scores, sample_weight=row))
        assert ap == pytest.approx(average_precision_score(labels, scores, sample_weight=row))


def test_the_interval_of_a_rate_is_the_binomials() -> None:
    # Resampling n images of which k are false alarms draws Binomial(n, k / n): its quantiles are known.
    labels = np.repeat([False, True], [400, 50])
    decisions = np.arange(450) < 60
    metrics = image_metrics(np.zeros(450), labels, decisions, resamples=4000)
    expected = stats.binom.ppf([0.025, 0.975], 400, 60 / 400) / 400
    assert metrics["false_alarm_rate"].interval == pytest.approx(expected, abs=0.006)


def test_the_interval_of_auroc_matches_its_standard_error() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(600) < 300
    scores = rng.normal(size=600) + labels
    metric = image_metrics(scores, labels, scores > 0.5)["image_auroc"]
    assert metric.value is not None and metric.interval is not None
    # DeLong's variance from the two samples' placements.
    bad, good = scores[labels], scores[~labels]
    above = bad[:, None] > good
    error = np.sqrt(above.mean(axis=1).var(ddof=1) / 300 + above.mean(axis=0).var(ddof=1) / 300)
    low, high = metric.interval
    assert low < metric.value < high
    assert (high - low) == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_intervals_repeat_with_the_seed_and_grow_with_the_level() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(80) < 40
    scores = rng.normal(size=80) + labels
    first, again = (image_metrics(scores, labels, scores > 0, seed=4) for _ in range(2))
    wide = image_metrics(scores, labels, scores > 0, seed=4, level=0.99)
    assert first == again
    assert set(first) == NAMES
    for name in NAMES:
        narrow, wider = first[name].interval, wide[name].interval
        assert narrow is not None and wider is not None
        assert wider[0] <= narrow[0] <= narrow[1] <= wider[1]
        assert wider != narrow


def test_resampling_in_chunks_draws_from_the_same_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.arange(40) < 20
    scores = np.sin(np.arange(40)) + labels
    expected = image_metrics(scores, labels, scores > 0.5)
    monkeypatch.setattr("anomalyvfm.metrics.image._CHUNK", 4000)
    chunked = image_metrics(scores, labels, scores > 0.5)
    for name, metric in expected.items():
        assert chunked[name].interval == pytest.approx(metric.interval, abs=0.03)


@pytest.mark.parametrize(
    ("scores", "labels", "undefined", "reason"),
    [
        ([], [], NAMES, "no images"),
        ([1, 2], [False, False], NAMES - {"false_alarm_rate"}, "no defective images"),
        ([1, 2], [True, True], NAMES - {"detection_rate"}, "no good images"),
        (
            [1, np.nan, np.inf],
            [True, True, False],
            {"image_auroc", "image_ap", "image_f1"},
            "2 of 3 image scores",
        ),
    ],
)
def test_what_is_undefined_is_none_with_a_reason(
    scores: list[float], labels: list[bool], undefined: set[str], reason: str
) -> None:
    metrics = image_metrics(scores, labels, [False] * len(labels))
    assert {name for name, metric in metrics.items() if metric.value is None} == undefined
    for name in undefined:
        assert reason in (metrics[name].reason or "")
        assert metrics[name].interval is None


def test_equal_scores_are_null_with_the_reason() -> None:
    metric = auroc([3, 3, 3], [True, False, False])
    assert metric.value is None
    assert "equal" in (metric.reason or "")


def test_a_single_image_of_a_kind_has_no_interval() -> None:
    metrics = image_metrics([1, 2, 3], [True, False, False], [True, False, False])
    assert {metric.interval for metric in metrics.values()} == {None}


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        auroc([1, 2, 3], [True, False])


def test_intervals_of_a_full_test_set_are_quick() -> None:
    labels = np.arange(740) < 388
    scores = np.random.default_rng(0).normal(size=740) + labels
    start = time.process_time()
    image_metrics(scores, labels, scores > 1)
    assert time.process_time() - start < 1
