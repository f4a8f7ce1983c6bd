"""Photographs of one product are found by their features; independent ones stay apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyvfm.data.generated import draw_good
from anomalyvfm.detector import Detector
from anomalyvfm.statistical.grouping import groups_of, placed_features
from tests.conftest import SMALL
from tests.statistical.test_choice import scorer_of


def partition(labels: np.ndarray) -> set[frozenset[int]]:
    """Which rows are together, whatever the groups are called."""
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in labels}


def photographs(parts: int, each: int, seed: int) -> np.ndarray:
    """Features of so many parts, each photographed so often, part by part."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(parts, 1, 60)) + 0.2 * rng.normal(size=(parts, each, 60))
    return own.reshape(parts * each, 60).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(parts=st.integers(12, 60), seed=st.integers(0, 1000))
def test_independent_images_are_a_group_each(parts: int, seed: int) -> None:
    labels = groups_of(photographs(parts, 1, seed), range(parts))
    assert len(set(labels.tolist())) == parts


@settings(max_examples=30, deadline=None)
@given(parts=st.integers(12, 40), each=st.integers(2, 6), seed=st.integers(0, 1000))
def test_photographs_of_a_part_are_a_group_in_whatever_order(parts: int, each: int, seed: int) -> None:
    features = photographs(parts, each, seed)
    truth = np.repeat(np.arange(parts), each)
    order = np.random.default_rng(seed).permutation(len(truth))
    assert partition(groups_of(features[order], range(len(order)))) == partition(truth[order])


def test_copies_are_a_group_and_two_images_are_two() -> None:
    features = photographs(2, 1, 0)
    assert partition(groups_of(features, [1, 2])) == {frozenset([0]), frozenset([1])}
    assert partition(groups_of(features[[0, 1, 0]], [1, 2, 1])) == {frozenset([0, 2]), frozenset([1])}
    constant = np.ones((5, 60), np.float32)
    assert len(groups_of(constant, range(5))) == 5


def test_images_are_compared_by_means_over_places() -> None:
    patches = torch.randn(2, 8, 12, 3)
    expected = patches.reshape(2, 4, 2, 4, 3, 3).mean((2, 4)).permute(0, 3, 1, 2).flatten(1)
    torch.testing.assert_close(placed_features(patches), expected)


def several_of_each(parts: range) -> list[np.ndarray]:
    """Three photographs of every part, which differ by a little noise."""
    images = []
    for part in parts:
        product = draw_good("grains", 96, np.random.default_rng([5, part]), "regular")
        for number in range(3):
            noise = np.random.default_rng([6, part, number]).normal(0, 2, product.shape)
            images.append(np.clip(product + noise, 0, 255).astype(np.uint8))
    return images


@pytest.fixture(scope="module")
def grouped() -> Detector:
    return Detector("v2", {**SMALL, "calibration.false_alarm_rate": 0.05}, device="cpu").fit(
        several_of_each(range(12))
    )


def test_a_promise_takes_groups_not_photographs(grouped: Detector, tmp_path: Path) -> None:
    calibration = grouped.calibration_
    assert (calibration.count, calibration.independent, calibration.images_needed) == (36, 12, 19)
    assert not calibration.promised
    assert not grouped.predict(several_of_each(range(1)))[0].as_dict()["promised"]
    assert grouped.with_false_alarm_rate(0.1).predict(several_of_each(range(1)))[0].promised
    grouped.save(tmp_path / "model")
    assert Detector.load(tmp_path / "model", device="cpu").calibration_.independent == 12


def test_photographs_of_one_part_alone_judge_each_other_and_are_one_group() -> None:
    detector = Detector("v2", {**SMALL, "calibration.false_alarm_rate": 0.5}, device="cpu").fit(
        several_of_each(range(1)) * 4
    )
    assert detector.calibration_.count == 3  # of twelve, all else are copies
    assert np.isfinite(detector.calibration_.scores).all()


def test_images_are_judged_as_by_a_model_without_their_group(grouped: Detector) -> None:
    judged = np.log(grouped.calibration_.image_scores)
    choice = scorer_of(grouped).choice
    settings = {**SMALL, "gaussian.window": choice.window, "gaussian.experts": "all"}
    without = Detector("v2", settings, device="cpu").fit(several_of_each(range(1, 12)))
    for batch in without.pipeline_.extractor.extract(several_of_each(range(1))):
        assert batch.features is not None
        for expected in np.log(scorer_of(without).distances(batch.features).numpy()[1]):
            # The summary tells which row it is; patches are judged without others of their fold, too.
            row = judged[np.abs(judged[:, -1] - expected[-1]).argmin()]
            np.testing.assert_allclose(row[-1], expected[-1], atol=1e-4)
            np.testing.assert_allclose(row[:-1], expected[:-1], atol=0.15)
