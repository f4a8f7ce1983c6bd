"""Pixel metrics against the definitions computed naively, and against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score

from anomalyvfm.errors import InputError
from anomalyvfm.metrics.pixel import PixelMetrics

Image = tuple[NDArray[Any], NDArray[np.bool_]]

EMPTY = np.zeros((4, 4), bool)
DEFECT = np.eye(4, dtype=bool)
MAP = np.arange(16.0).reshape(4, 4)
NAN_MAP = np.where(DEFECT, np.nan, 1.0)

# Few distinct values make ties; the masks' random pixels touch at corners, at edges and at the border.
tied = st.integers(-3, 4).map(float)
spread = st.floats(-1e3, 1e3, width=32)


@st.composite
def image_sets(draw: st.DrawFn, values: st.SearchStrategy[float] = tied | spread) -> list[Image]:
    """One to four images of up to 9 × 9, at least one with a defect and one pixel free of any."""
    shape = st.tuples(st.integers(1, 9), st.integers(1, 9))
    images = []
    for size in draw(st.lists(shape, min_size=1, max_size=4)):
        mask = draw(hnp.arrays(bool, size))
        images.append((draw(hnp.arrays(np.float32, size, elements=values)), mask))
    scores, mask = np.array([[0.5, 1, 0.5]], np.float32), np.array([[True, True, False]])
    return [*images, (scores, mask)]


def regions(mask: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """8-connected regions by walking from pixel to pixel."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while left:
        region, frontier = [], [left.pop()]
        while frontier:
            y, x = frontier.pop()
            region.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            frontier += near
        found.append(region)
    return found


def naive_aupro(images: list[Image], limit: float) -> float:
    """The definition, threshold by threshold, in float64."""
    maps = [scores.astype(np.float64) for scores, _ in images]
    normal = np.concatenate([m[~mask] for m, (_, mask) in zip(maps, images, strict=True)])
    defects = [
        np.array([m[pixel] for pixel in region])
        for m, (_, mask) in zip(maps, images, strict=True)
        for region in regions(mask)
    ]
    points = [(0.0, 0.0)]
    for threshold in sorted({float(s) for m in maps for s in m.ravel()}, reverse=True):
        fpr = float((normal >= threshold).mean())
        points.append((fpr, float(np.mean([(d >= threshold).mean() for d in defects]))))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= limit:
            break
        if x1 > limit:
            x1, y1 = limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def collected(images: list[Image], **settings: int) -> PixelMetrics:
    pixels = PixelMetrics(**settings)
    for scores, mask in images:
        pixels.add(scores, mask if mask.any() else None, anomalous=bool(mask.any()))
    return pixels


def flat(images: list[Image]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    return np.concatenate([s.ravel() for s, _ in images]), np.concatenate([m.ravel() for _, m in images])


def random_images(seed: int, count: int = 6, size: int = 40) -> list[Image]:
    rng = np.random.default_rng(seed)
    images = []
    for i in range(count):
        mask = np.zeros((size, size), bool)
        if i % 2:
            y, x = rng.integers(0, size - 5, 2)
            mask[y : y + 9, x : x + 7] = rng.random(mask[y : y + 9, x : x + 7].shape) > 0.2
        images.append(((rng.normal(size=(size, size)) + 1.5 * mask).astype(np.float32), mask))
    return images


@settings(max_examples=80, deadline=None)
@given(image_sets(), st.sampled_from([0.05, 0.3, 1.0]))
def test_aupro_equals_the_naive_definition(images: list[Image], limit: float) -> None:
    metric = collected(images).aupro(limit)
    assert metric.value == pytest.approx(naive_aupro(images, limit), abs=1e-9)
    assert metric.bound == 0


@pytest.mark.parametrize("limit", [0.05, 0.3])
def test_aupro_of_float64_maps_equals_the_definition_in_float64(limit: float) -> None:
    rng = np.random.default_rng(3)
    images = [(rng.normal(size=m.shape) + m, m) for _, m in random_images(3, count=4)]
    assert collected(images).aupro(limit).value == pytest.approx(naive_aupro(images, limit), abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(image_sets())
def test_auroc_ap_and_f1_equal_scikit_learn(images: list[Image]) -> None:
    pixels = collected(images)
    scores, truth = flat(images)
    assert pixels.auroc().value == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert pixels.average_precision().value == pytest.approx(average_precision_score(truth, scores))
    best, threshold = pixels.best_f1()
    precision, recall, _ = precision_recall_curve(truth, scores)
    assert best.value == pytest.approx((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())
    assert threshold is not None
    assert f1_score(truth, scores >= threshold) == pytest.approx(best.value)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([16, 64, 500]))
def test_where_bins_run_out_the_exact_metric_lies_within_the_bound(seed: int, max_bins: int) -> None:
    images = random_images(seed)
    coarse, exact = collected(images, max_bins=max_bins), collected(images)
    pairs = [
        (coarse.auroc(), exact.auroc()),
        (coarse.average_precision(), exact.average_precision()),
        (coarse.aupro(0.3), exact.aupro(0.3)),
        (coarse.aupro(0.05), exact.aupro(0.05)),
        (coarse.best_f1()[0], exact.best_f1()[0]),
    ]
    for approximate, truth in pairs:
        assert approximate.value is not None and truth.value is not None
        assert truth.bound == 0
        assert abs(approximate.value - truth.value) <= approximate.bound + 1e-12
    assert coarse.aupro(0.3).bound > 0


def test_the_bound_is_small_at_the_size_of_a_real_run() -> None:
    rng = np.random.default_rng(0)
    images = random_images(0, count=8, size=250)
    noisy: list[Image] = [(s + rng.random(s.shape, np.float32), m) for s, m in images]
    coarse = collected(noisy, max_bins=1 << 17)
    assert 0 < coarse.aupro(0.05).bound < 1e-4
    assert 0 < coarse.aupro(0.30).bound < 1e-4


@settings(max_examples=50, deadline=None)
@given(image_sets(st.integers(-50, 50).map(float)))
def test_a_monotone_transform_of_the_scores_changes_nothing(images: list[Image]) -> None:
    plain, transformed = collected(images), collected([(np.arctan(s / 7), m) for s, m in images])
    assert transformed.auroc().value == pytest.approx(plain.auroc().value, abs=1e-12)
    assert transformed.aupro(0.3).value == pytest.approx(plain.aupro(0.3).value, abs=1e-12)


@pytest.mark.parametrize("max_bins", [64, 1 << 22])
def test_order_and_merging_do_not_matter(max_bins: int) -> None:
    images = random_images(7, count=8)
    one = collected(images, max_bins=max_bins)
    backwards = collected(images[::-1], max_bins=max_bins)
    parts = [collected(images[i::3], max_bins=max_bins) for i in range(3)]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    for other in (backwards, merged):
        assert other.auroc() == one.auroc()
        assert other.best_f1() == one.best_f1()
        assert other.aupro(0.05).value == pytest.approx(one.aupro(0.05).value, abs=1e-12)
        assert other.aupro(0.05).bound == pytest.approx(one.aupro(0.05).bound, abs=1e-12)


def test_merging_carries_every_fault_along() -> None:
    faulty = PixelMetrics()
    faulty.add(MAP, None, anomalous=True)
    merged = PixelMetrics().merge(collected([(MAP, DEFECT)])).merge(faulty)
    assert merged.auroc().reason == "1 of 2 defective images have no mask"


def test_images_may_be_added_after_metrics_were_read() -> None:
    images = random_images(1)
    pixels = collected(images[:3])
    before = pixels.auroc().value
    for scores, mask in images[3:]:
        pixels.add(scores, mask, anomalous=bool(mask.any()))
    assert pixels.auroc() == collected(images).auroc()
    assert pixels.auroc().value != before


def test_perfect_and_reversed_maps_reach_the_ends() -> None:
    mask = np.zeros((20, 20), bool)
    mask[:4, :4] = True
    assert collected([(mask.astype(np.float32), mask)]).aupro(0.05).value == 1
    assert collected([(-mask.astype(np.float32), mask)]).aupro(0.3).value == 0


def test_constant_maps_are_null_with_the_reason() -> None:
    pixels = collected([(np.full((4, 4), 2.5), mask) for mask in (DEFECT, EMPTY)])
    other = collected([(np.full((4, 4), 2.5), mask) for mask in (DEFECT, EMPTY)])
    for metric in (pixels.auroc(), pixels.aupro(0.3), pixels.best_f1()[0], pixels.merge(other).auroc()):
        assert metric.value is None
        assert "constant" in (metric.reason or "")
    varied = collected([(np.full((4, 4), 3.5), mask) for mask in (DEFECT, EMPTY)])
    assert pixels.merge(varied).auroc().value == 0.5


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ([], "no images"),
        ([(MAP, None, False), (MAP, EMPTY, False)], "no defective images"),
        ([(MAP, None, False), (MAP, None, True)], "no masks"),
        (
            [(MAP, DEFECT, True), (MAP, None, True), (MAP, None, False)],
            "1 of 2 defective images have no mask",
        ),
        ([(MAP, DEFECT, True), (MAP, EMPTY, True)], "1 of 2 defective images have an empty mask"),
        ([(MAP, DEFECT, False), (MAP, DEFECT, True)], "1 of 1 good images have a mask with defects"),
        ([(MAP, ~EMPTY, True)], "no anomaly-free pixels"),
        ([(MAP, DEFECT, True), (NAN_MAP, None, False)], "1 of 2 score maps hold NaN or infinite values"),
        ([(np.full((4, 4), -np.inf), DEFECT, True)], "hold NaN or infinite values"),
        ([(MAP * 1e300, DEFECT, True)], "hold NaN or infinite values"),
    ],
)
def test_what_is_undefined_is_none_with_a_reason(images: list[tuple[Any, Any, bool]], reason: str) -> None:
    pixels = PixelMetrics()
    for map_, mask, anomalous in images:
        pixels.add(map_, mask, anomalous=anomalous)
    metrics = [pixels.auroc(), pixels.average_precision(), pixels.aupro(0.3)]
    metrics.append(pixels.best_f1()[0])
    for metric in metrics:
        assert metric.value is None
        assert reason in (metric.reason or "")
    assert pixels.pro_curve() is pixels.precision_recall_curve() is None


def test_only_defective_images_still_have_anomaly_free_pixels() -> None:
    assert collected([(MAP, DEFECT)]).aupro(0.3).value == pytest.approx(naive_aupro([(MAP, DEFECT)], 0.3))


def test_shapes_that_differ_are_named() -> None:
    with pytest.raises(InputError, match=r"\(4, 4\).*\(5, 4\)"):
        PixelMetrics().add(MAP, np.zeros((5, 4), bool), anomalous=True)
    with pytest.raises(InputError, match=r"\(4, 4, 1\)"):
        PixelMetrics().add(MAP[..., None], None, anomalous=True)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.5, np.nan])
def test_a_limit_that_is_no_rate_is_refused(limit: float) -> None:
    with pytest.raises(InputError, match="limit"):
        collected(random_images(0)).aupro(limit)


@pytest.mark.parametrize(
    "curve",
    [PixelMetrics.pro_curve, PixelMetrics.precision_recall_curve],
)
def test_a_thinned_curve_keeps_points_of_the_full_one(curve: Callable[..., Any]) -> None:
    pixels = collected(random_images(5))
    full, thin = curve(pixels, points=10**6), curve(pixels, points=100)
    assert len(thin[0]) <= 102 < len(full[0])
    assert set(zip(*thin, strict=True)) <= set(zip(*full, strict=True))
    assert (thin[0][0], thin[1][0], thin[0][-1], thin[1][-1]) == (
        full[0][0],
        full[1][0],
        full[0][-1],
        full[1][-1],
    )
    assert np.abs(np.interp(full[0], *thin) - full[1]).mean() < 0.02


def test_a_pro_curve_cut_at_the_limit_reaches_it_and_is_fine_below() -> None:
    pixels = collected(random_images(5))
    x, y = pixels.pro_curve(limit=0.05, points=50)  # type: ignore[misc]  # defined for these images
    assert x[-2] <= 0.05 < x[-1]
    assert len(x) > 30
    assert (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
