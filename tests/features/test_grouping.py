"""Photographs of one product are found by their features; independent ones stay apart."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anomalyvfm.data.generated import draw_good
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.features.grid import orthonormal
from anomalyvfm.features.grouping import group_named, groups_of, placed_features
from tests.conftest import SMALL
from tests.statistical.test_choice import scorer_of


def partition(labels: np.ndarray) -> set[frozenset[int]]:
    """Which rows are together, whatever the groups are called."""
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in labels}


def photographs(parts: int, each: int, seed: int) -> np.ndarray:
    """Features of so many parts, each photographed so often, part by part.

    Of so many numbers each that two parts are never alike by chance.
    """
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(parts, 1, 480)) + 0.2 * rng.normal(size=(parts, each, 480))
    return own.reshape(parts * each, 480).astype(np.float32)


def by_looks(features: np.ndarray, keys: Sequence[int] | None = None) -> np.ndarray:
    """Labels of images, each with a key of its own unless given, whose names say nothing."""
    return groups_of(features, keys or range(len(features)), [None] * len(features))


@settings(max_examples=30, deadline=None)
@given(parts=st.integers(12, 60), seed=st.integers(0, 1000))
def test_independent_images_are_a_group_each(parts: int, seed: int) -> None:
    labels = by_looks(photographs(parts, 1, seed))
    assert len(set(labels.tolist())) == parts


@settings(max_examples=30, deadline=None)
@given(parts=st.integers(12, 40), each=st.integers(2, 6), seed=st.integers(0, 1000))
def test_photographs_of_a_part_are_a_group_in_whatever_order(parts: int, each: int, seed: int) -> None:
    features = photographs(parts, each, seed)
    truth = np.repeat(np.arange(parts), each)
    order = np.random.default_rng(seed).permutation(len(truth))
    assert partition(by_looks(features[order])) == partition(truth[order])


def test_copies_are_a_group_and_two_images_are_two() -> None:
    features = photographs(2, 1, 0)
    assert partition(by_looks(features)) == {frozenset([0]), frozenset([1])}
    assert partition(by_looks(features[[0, 1, 0]], [1, 2, 1])) == {
        frozenset([0, 2]),
        frozenset([1]),
    }
    constant = np.ones((5, 60), np.float32)
    assert len(by_looks(constant)) == 5


def test_images_are_compared_by_means_over_places() -> None:
    patches = torch.randn(2, 8, 12, 3)
    expected = patches.reshape(2, 4, 2, 4, 3, 3).mean((2, 4)).permute(0, 3, 1, 2).flatten(1)
    torch.testing.assert_close(placed_features(patches), expected)
    # At several scales, each of which is compared; of many channels some directions do.
    torch.testing.assert_close(
        placed_features(patches[:, :, :, None].expand(-1, -1, -1, 2, -1)),
        expected.reshape(2, 3, 16).repeat(1, 2, 1).flatten(1),
    )
    many = torch.randn(2, 4, 4, 300)
    directions = (many @ orthonormal(300, 96)).permute(0, 3, 1, 2).flatten(1)
    torch.testing.assert_close(placed_features(many), directions)


@pytest.mark.parametrize(
    ("rule", "name", "group"),
    [
        ("alike", "lot 3/a.png", None),
        ("folder", "lot 3/a.png", "lot 3"),
        ("folder", "line/lot 3/a.png", "line/lot 3"),
        ("folder", "a.png", None),
        ("{}_*", "lot 3/part7_2.png", "part7"),
        ("{}_*", "part7.png", None),
        ("{}_*", "_2.png", None),
        ("{}.png", "part7.png", "part7"),
        ("{}", "part7.png", "part7.png"),
        ("part{}", "part7.png", "7.png"),
        ("part{}", "part", None),
        ("*_num_{}.*", "exp1_num_10334.jpg", "10334"),
        ("*_num_{}.*", "exp1_num_.jpg", None),
        ("exp{}_num_*", "exp1_num_10334.jpg", "1"),
        ("exp{}_num_*", "MT_exp1_num_10334.jpg", None),
        ("*-{}-*-*.png", "a-b-c-d.png", "b"),
    ],
)
def test_a_name_says_which_group_an_image_is_of(rule: str, name: str, group: str | None) -> None:
    assert group_named(name, rule) == group


def test_a_name_made_to_take_long_does_not() -> None:
    assert group_named("a" * 200_000, "*a{}a*a*a*b") is None


def test_images_of_one_name_are_a_group_and_so_is_what_is_like_one_of_them() -> None:
    features = photographs(30, 1, 0)
    named = ["a", None, "b", "a", "b", *[None] * 25]
    expected = [frozenset([0, 3]), frozenset([2, 4]), *(frozenset([row]) for row in (1, *range(5, 30)))]
    assert partition(groups_of(features, range(30), named)) == set(expected)
    features[7] = features[0] + 1e-3
    assert frozenset([0, 3, 7]) in partition(groups_of(features, range(30), named))


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


def test_photographs_that_calibrate_are_counted_by_group(grouped: Detector) -> None:
    """Before, a hundred photographs of twenty parts backed the promise of a hundred."""
    held_out = Detector("v2", {**SMALL, "calibration.false_alarm_rate": 0.05}, device="cpu").fit(
        several_of_each(range(12)), validation=several_of_each(range(12, 20))
    )
    assert (held_out.calibration_.count, held_out.calibration_.independent) == (24, 8)
    assert not held_out.calibration_.promised
    renewed = copy.copy(grouped).calibrate(several_of_each(range(12, 24)))
    assert (renewed.calibration_.count, renewed.calibration_.independent) == (36, 12)


def test_names_tell_groups_that_do_not_look_alike(tmp_path: Path) -> None:
    for part in range(24):
        product = draw_good("grains", 96, np.random.default_rng([5, part]), "regular")
        Image.fromarray(product).save(tmp_path / f"lot{part // 4}_{part % 4}.png")
    settings = {**SMALL, "calibration.false_alarm_rate": 0.05}
    alike = Detector("v2", settings, device="cpu").fit(tmp_path)
    named = Detector("v2", {**settings, "calibration.groups": "{}_*"}, device="cpu").fit(tmp_path)
    assert (alike.calibration_.independent, alike.calibration_.promised) == (24, True)
    assert (named.calibration_.independent, named.calibration_.promised) == (6, False)


@pytest.mark.parametrize(
    ("rule", "message"),
    [("folder", "all images are in one folder"), ("{}-*", r"no image is named so, a_0.png for one")],
)
def test_a_rule_that_names_no_image_is_said(rule: str, message: str, tmp_path: Path) -> None:
    for number in range(2):
        Image.new("RGB", (96, 96), (number, 0, 0)).save(tmp_path / f"a_{number}.png")
    with pytest.raises(InputError, match=message):
        Detector("v2", {**SMALL, "calibration.groups": rule}, device="cpu").fit(tmp_path)


@pytest.mark.parametrize("rule", ["", "shift", "{}_{}", "*{}", "{}*", "a/{}", "{}_**"])
def test_a_rule_is_a_word_or_a_pattern(rule: str) -> None:
    with pytest.raises(InputError, match=r"calibration\.groups.*such as \{\}_"):
        Detector("v2", {"calibration.groups": rule})


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
