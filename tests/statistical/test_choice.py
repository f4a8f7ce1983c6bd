"""What a fit chooses: windows by density, scales by drawn defects, and a model that keeps its choice."""

from pathlib import Path

import numpy as np
import pytest
import torch

from anomalyvfm.decision.calibration import Alternative
from anomalyvfm.detector import Detector
from anomalyvfm.features.grid import PatchGrid
from anomalyvfm.statistical.choice import Choice, alternatives, counting_scales, larger_pays
from anomalyvfm.statistical.scorer import StatisticalScorer
from anomalyvfm.statistical.sufficient_statistics import SufficientStatistics
from tests.quick_detectors import good

TWO_SCALES = {
    "backbone": "efficientnet-lite0",
    "image.size": 128,
    "gaussian.scales": "1,0.5",
    "gaussian.window": "none",
    "gaussian.experts": "auto",
    "gaussian.context_dimensions": 0,
}


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


def test_a_scale_counts_unless_another_leads_clearly() -> None:
    assert counting_scales([0.80, 0.78]) == (0, 1)
    assert counting_scales([0.80, 0.70]) == (0,)
    assert counting_scales([0.60, 0.80]) == (1,)
    assert larger_pays(-1.5, -1.4)
    assert not larger_pays(-1.5, -1.49)


def test_aligned_parts_join_the_whole_with_the_coarsest_scale_and_others_keep_it_apart() -> None:
    aligned = alternatives(1, (0, 1), 2, 0.25)
    assert [one.weights for one in aligned] == [(1.0, 0.0, 0.0), (0.0, 1.0, 0.25)]
    assert [one.weights for one in alternatives(2, (0,), 2, 0.25)] == [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)]
    choice = Choice(2, aligned, {1: -1.5, 2: -1.25}, (0.75, 0.5))
    assert Choice.from_dict(choice.as_dict()) == choice
    assert not Choice(1, (Alternative((1.0, 0.0, 0.0)),)).counts(1)


def test_a_model_of_two_scales_keeps_its_choice_and_judges_alike_once_read(tmp_path: Path) -> None:
    images = good(24)
    detector = Detector("v2", TWO_SCALES, device="cpu").fit(images)
    choice = scorer_of(detector).choice
    assert len(choice.told) == 2 and 1 in choice.densities
    assert detector.calibration_.image_scores.shape[1] == 3
    detector.save(tmp_path / "model")
    again = Detector.load(tmp_path / "model", device="cpu")
    assert scorer_of(again).choice.window == choice.window
    for one, other in zip(detector.predict(images[:3]), again.predict(images[:3]), strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)
        np.testing.assert_allclose(one.anomaly_map, other.anomaly_map, atol=1e-4)


def test_choosing_leaves_the_sums_as_they_were() -> None:
    images = good(24)
    free = scorer_of(Detector("v2", TWO_SCALES, device="cpu").fit(images)).to_tensors()
    fixed = {**TWO_SCALES, "gaussian.window": 1, "gaussian.experts": "all"}
    plain = scorer_of(Detector("v2", fixed, device="cpu").fit(images)).to_tensors()
    assert free.keys() == plain.keys()
    for name, tensor in free.items():
        torch.testing.assert_close(tensor, plain[name], rtol=1e-9, atol=1e-6)
