"""What a fit chooses: windows by density, scales by drawn defects, and a model that keeps its choice."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.data.generated import draw_good
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.features.grid import PatchGrid
from anomalyvfm.pipeline import Distances
from anomalyvfm.statistical.choice import Choice, larger_pays, likely_to_tell, summary_weight
from anomalyvfm.statistical.scorer import StatisticalScorer, widened
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics
from tests.conftest import SMALL
from tests.quick_detectors import good

TWO_SCALES = {"backbone": "efficientnet-lite0", "image.size": 128}


def scorer_of(detector: Detector) -> StatisticalScorer:
    scorer = detector.pipeline_.scorer
    assert isinstance(scorer, StatisticalScorer)
    return scorer


def test_sums_of_windows_are_those_of_the_coarser_grid() -> None:
    features = torch.randn(3, 5, 7, 4, generator=torch.Generator().manual_seed(0))
    grid = PatchGrid(5, 7, 4, step=1, dimensions=4)
    coarse = grid.coarsened(2)
    fine_sums = SufficientStatistics(grid.positions, 4)
    fine_sums.add(grid.to_positions(features))
    coarse_sums = SufficientStatistics(coarse.positions, 4)
    coarse_sums.add(coarse.to_positions(features))
    pooled = fine_sums.pooled(*grid.shape, 2)
    assert pooled.count == coarse_sums.count
    torch.testing.assert_close(pooled.total, coarse_sums.total)
    torch.testing.assert_close(pooled.outer, coarse_sums.outer)


def test_what_tells_drawn_defects_less_well_is_less_likely_and_far_behind_does_not_count() -> None:
    assert likely_to_tell([0.80, 0.78]) == (0, 1)
    assert likely_to_tell([0.80, 0.64]) == (0,)
    assert likely_to_tell([0.60, 0.80]) == (1,)
    choice = Choice(2, (0, 1), 0.25, (0,), told=(0.75, 0.70, 0.80, 0.60))
    assert choice.log_priors(2) == pytest.approx([-1.0, -2.0, 0.0])
    assert [one.log_prior for one in choice.alternatives(2)[:3]] == choice.log_priors(2)
    assert Choice(2, (0, 1), 0.25, (0,)).log_priors(2) == [0.0, 0.0, 0.0]
    assert larger_pays(-1.5, -1.4)
    assert not larger_pays(-1.5, -1.49)


def test_aligned_parts_join_the_whole_with_the_coarsest_scale_and_others_keep_it_apart() -> None:
    aligned = Choice(1, (0, 1), 0.25).alternatives(2)
    assert [one.weights for one in aligned] == [(1.0, 0.0, 0.0), (0.0, 1.0, 0.25)]
    assert aligned[0].log_prior < aligned[1].log_prior
    layout = Choice(2, (0,), 0.25, (1,)).alternatives(2)
    assert [one.weights for one in layout] == [(1.0, 0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0)]
    assert layout[0].log_prior > layout[2].log_prior


def test_what_was_chosen_is_named_with_the_figures_it_was_chosen_by() -> None:
    choice = Choice(2, (0,), 0.25, (0, 2), {1: -1.5, 2: -1.25}, (0.75, 0.5, 0.7, 0.625, 0.8))
    place, scales, whole = choice.reasons([(512, 384), (256, 192)])
    assert "2 × 2 places together" in place and "-1.250 by 2 × 2" in place
    assert scales == (
        "judged by place at 512×384 px, by the nearest good patches at 512×384 px and in detail (AUROC on"
        " drawn defects: by place 0.750 at 512×384 px, 0.500 at 256×192 px; by the nearest good patches"
        " 0.700 at 512×384 px, 0.625 at 256×192 px, 0.800 in detail)"
    )
    assert "what lies in it varies" in whole
    older = Choice(2, (0, 1), 0.25, (1,), told=(0.75, 0.5, 0.7, 0.625)).reasons([(512, 384), (256, 192)])[1]
    assert older.endswith("by the nearest good patches 0.700 at 512×384 px, 0.625 at 256×192 px)")


@pytest.mark.parametrize(
    ("settings", "scales", "banks"),
    [
        ({"gaussian.experts": "fine"}, (0,), (0, 2)),
        ({"gaussian.experts": "coarse"}, (1,), (1,)),
        ({"gaussian.experts": "all"}, (0, 1), (0, 1, 2)),
        ({"gaussian.experts": "all", "gaussian.bank": "never"}, (0, 1), ()),
        ({"gaussian.experts": "all", "gaussian.scales": "1"}, (0,), (0, 1)),
    ],
)
def test_settings_name_what_judges(
    settings: dict[str, str], scales: tuple[int, ...], banks: tuple[int, ...]
) -> None:
    detector = Detector("v2", {**TWO_SCALES, "gaussian.window": 2, **settings}, device="cpu").fit(good(12))
    choice = scorer_of(detector).choice
    assert (choice.scales, choice.banks) == (scales, banks)


def test_a_single_scale_is_weighed_against_its_banks() -> None:
    settings = {**TWO_SCALES, "gaussian.window": 2, "gaussian.scales": "1"}
    choice = scorer_of(Detector("v2", settings, device="cpu").fit(good(12))).choice
    assert len(choice.told) == 3
    assert (*choice.scales, *(1 + number for number in choice.banks)) == likely_to_tell(choice.told)


def test_a_choice_is_read_as_it_was_written() -> None:
    choice = Choice(2, (0, 1), 0.2517, (1,), {1: -1.5, 2: -1.25}, (0.75, 0.5, 0.5, 0.75))
    assert Choice.from_dict(json.loads(json.dumps(choice.as_dict()))) == choice


@given(st.integers(1, 10_000), st.integers(1, 4000))
def test_a_summary_counts_the_more_the_more_images_it_is_learned_from(images: int, dimensions: int) -> None:
    weight = summary_weight(images, dimensions)
    assert 0 <= weight <= summary_weight(2 * images, dimensions) <= 0.6


@pytest.mark.parametrize("window", [None, 2])
def test_a_model_of_two_scales_keeps_its_choice_and_judges_alike_once_read(
    tmp_path: Path, window: int | None
) -> None:
    images = good(24)
    detector = Detector("v2", {**TWO_SCALES, "gaussian.window": window}, device="cpu").fit(images)
    choice = scorer_of(detector).choice
    assert bool(choice.densities) == (window is None)
    assert bool(choice.banks) == bool(choice.told) == (window == 2)
    assert detector.calibration_.image_scores.shape[1] == 3 + len(choice.banks)
    detector.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model", device="cpu")
    assert scorer_of(again).choice.identity() == choice.identity()
    assert scorer_of(again).choice.summary_weight == choice.summary_weight
    for one, other in zip(detector.predict(images[:3]), again.predict(images[:3]), strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)
        np.testing.assert_allclose(one.anomaly_map, other.anomaly_map, atol=1e-4)


def test_aligned_parts_are_judged_place_by_place_at_both_scales() -> None:
    images = [draw_good("can", 128, np.random.default_rng([1, i]), "regular") for i in range(24)]
    choice = scorer_of(Detector("v2", TWO_SCALES, device="cpu").fit(images)).choice
    assert (choice.window, choice.scales, choice.banks, choice.told) == (1, (0, 1), (), ())


def test_a_texture_is_judged_by_windows_at_the_scales_that_tell_drawn_defects() -> None:
    images = [draw_good("grains", 128, np.random.default_rng([1, i]), "regular") for i in range(24)]
    choice = scorer_of(Detector("v2", TWO_SCALES, device="cpu").fit(images)).choice
    assert choice.window > 1
    assert (*choice.scales, *(2 + scale for scale in choice.banks)) == likely_to_tell(choice.told)
    assert max(choice.told) > 0.52  # some of the defects drawn are hardly to be seen


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6))
def test_what_is_odd_widens_to_the_patches_beside_it_and_stays_oddest_in_its_middle(
    seed: int, height: int, width: int
) -> None:
    map_ = torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 5, (2, height, width)))
    wide = widened(map_)
    for image, now in zip(map_.numpy(), wide.numpy(), strict=True):
        around = [
            [image[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].max() for x in range(width)]
            for y in range(height)
        ]
        np.testing.assert_allclose(now, np.exp((np.log(image) + np.log(around)) / 2))
        assert now.argmax() == image.argmax() and now.max() == pytest.approx(image.max())
    flat = torch.full((1, height, width), 2.0)
    torch.testing.assert_close(widened(flat), flat)


@pytest.mark.parametrize(
    ("window", "widen", "wide"), [(2, "auto", True), (2, "never", False), (1, "auto", False)]
)
def test_a_map_widens_where_parts_are_not_aligned_and_scores_do_not(
    window: int, widen: str, wide: bool
) -> None:
    settings = {**TWO_SCALES, "gaussian.window": window, "gaussian.experts": "all"}

    def distances(widen: str) -> Distances:
        detector = Detector("v2", {**settings, "gaussian.widen": widen}, device="cpu").fit(good(12))
        (batch,) = detector.pipeline_.extractor.extract(good(2, 7))
        assert batch.features is not None
        return scorer_of(detector).distances(batch.features)

    one, plain = distances(widen), distances("never")
    torch.testing.assert_close(one.image_scores, plain.image_scores)
    expected = widened(plain.patch_distances) if wide else plain.patch_distances
    torch.testing.assert_close(one.patch_distances, expected)


@pytest.mark.parametrize(("window", "experts", "finer"), [(1, "all", 2), (1, "coarse", 1), (2, "all", 1)])
def test_maps_are_finer_by_the_detail_where_parts_are_aligned_and_scores_as_without(
    window: int, experts: str, finer: int
) -> None:
    settings = {**TWO_SCALES, "gaussian.window": window, "gaussian.experts": experts}
    detector = Detector("v2", settings, device="cpu").fit(good(12))
    scorer = scorer_of(detector)
    (batch,) = detector.pipeline_.extractor.extract(good(2, seed=5))
    assert batch.features is not None
    assert batch.features.detail is not None
    spoilt = batch.features.detail.clone()
    spoilt[0, 4, 9] += 10 * spoilt.std()

    before = scorer.distances(batch.features)
    after = scorer.distances(replace(batch.features, detail=spoilt))

    rows, columns = scorer.grid.height, scorer.grid.width
    assert before.patch_distances.shape == (2, finer * rows, finer * columns)
    changed = (after.patch_distances != before.patch_distances).nonzero().tolist()
    if finer == 2:
        assert changed == [[0, 4, 9]]
        torch.testing.assert_close(after.image_scores, before.image_scores, rtol=0, atol=0)


def test_models_that_chose_differently_merge_once_the_choice_is_set() -> None:
    def fitted(seed: int, window: int) -> Detector:
        return Detector("v2", {**SMALL, "gaussian.window": window}, device="cpu").fit(good(12, seed))

    with pytest.raises(InputError, match=r"their choice differ; .* gaussian\.window"):
        fitted(0, 1).merge(fitted(1, 2))
    merged = fitted(0, 2)
    alone = scorer_of(merged).choice.summary_weight
    merged.merge(fitted(1, 2))
    assert scorer_of(merged).choice.summary_weight == alone
    assert merged.pipeline_.learned.total() == 24


def test_choosing_leaves_the_sums_as_they_were() -> None:
    images = good(24)
    free = scorer_of(Detector("v2", {**TWO_SCALES, "gaussian.window": 2}, device="cpu").fit(images))
    assert free.choice.told
    fixed = {**TWO_SCALES, "gaussian.window": 1, "gaussian.experts": "all"}
    plain = scorer_of(Detector("v2", fixed, device="cpu").fit(images)).to_tensors()
    assert free.to_tensors().keys() - plain.keys() == {
        f"bank_{scale}.{part}"
        for scale in free.choice.banks
        for part in ("limit", "keys", "times", "patches")
    }
    for name, tensor in plain.items():
        torch.testing.assert_close(free.to_tensors()[name], tensor, rtol=1e-9, atol=1e-6)
