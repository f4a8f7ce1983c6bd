"""A detector against labelled images: what is measured, and what is kept of it."""

from __future__ import annotations

import json
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalyvfm.data import Category, open_dataset, read_mask
from anomalyvfm.data.roi import Roi
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.evaluation.evaluate import evaluate
from anomalyvfm.evaluation.report import Report
from anomalyvfm.evaluation.reports.text import summary_text
from anomalyvfm.evaluation.reports.writing import FIGURES, save_report
from anomalyvfm.metrics.pixel import PixelMetrics
from anomalyvfm.statistical.scorer import StatisticalScorer


@pytest.fixture(scope="module")
def detector(fitted_folder: Path) -> Detector:
    return Detector.load(fitted_folder, device="cpu")


@pytest.fixture(scope="module")
def category(drawn: Path) -> Category:
    return open_dataset(drawn, "sheet_metal")


@pytest.fixture(scope="module")
def report(detector: Detector, category: Category) -> Report:
    return evaluate(detector, category)


def test_verdicts_are_those_of_predict_in_the_order_of_the_test_set(
    report: Report, detector: Detector, category: Category
) -> None:
    assert [image.sample for image in report.images] == list(category.test)
    verdicts = detector.predict([sample.path for sample in category.test])
    assert [image.verdict.score for image in report.images] == pytest.approx(
        [v.score for v in verdicts], abs=1e-5
    )
    assert [image.verdict.anomalous for image in report.images] == [v.anomalous for v in verdicts]
    assert [image.verdict.p_value for image in report.images] == [v.p_value for v in verdicts]


def test_seg_f1_is_that_of_the_outlines_as_given_out(
    report: Report, detector: Detector, category: Category
) -> None:
    outlined = [verdict.mask for verdict in detector.predict([sample.path for sample in category.test])]
    truth = [
        np.zeros(mask.shape, bool) if sample.mask is None else read_mask(sample.mask)
        for sample, mask in zip(category.test, outlined, strict=True)
    ]
    found, real = np.concatenate(outlined), np.concatenate(truth)
    expected = 2 * (found & real).sum() / (found.sum() + real.sum())
    assert report.metrics["seg_f1"] == pytest.approx(expected, abs=1e-12)


def test_nothing_at_full_resolution_is_kept(report: Report) -> None:
    for image in report.images:
        kept = vars(image.verdict)
        assert kept["pixels"] is None
        arrays = [value for value in kept.values() if isinstance(value, np.ndarray)]
        assert {id(image.verdict.anomaly_map), id(image.verdict.summary)} == {id(array) for array in arrays}
        assert image.verdict.summary.ndim == 1
        assert image.verdict.summary.dtype == np.float32


def test_thumbnails_are_small_pictures_of_the_right_shape(report: Report) -> None:
    for image in report.images:
        with Image.open(BytesIO(image.thumbnail)) as picture:
            assert picture.format == "JPEG"
            assert picture.size == (96, 96)
        assert len(image.thumbnail) < 12_000


def test_thumbnails_of_long_images_keep_their_shape_and_content(detector: Detector, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for kind in ("good", "long"):
        (folder / kind).mkdir(parents=True)
    half = np.zeros((100, 400, 3), np.uint8)
    half[:, :200] = (255, 255, 255)
    for i in range(4):
        Image.fromarray(half).save(folder / "good" / f"{i}.png")
    Image.fromarray(half).save(folder / "long" / "0.png")
    thumbnail = evaluate(detector, open_dataset(folder)).images[-1].thumbnail
    with Image.open(BytesIO(thumbnail)) as picture:
        assert picture.size == (160, 40)
        pixels = np.asarray(picture.convert("L"), float)
    assert pixels[:, :60].mean() > pixels[:, 100:].mean() + 50


def test_what_was_learned_is_scaled_to_its_own_average(report: Report, detector: Detector) -> None:
    learned = report.learned
    assert learned is not None
    assert isinstance(detector.pipeline_.scorer, StatisticalScorer)
    grid = detector.pipeline_.scorer.grid
    assert learned.by_position.shape == (grid.height // grid.step, grid.width // grid.step)
    assert np.mean(learned.by_position**2) == pytest.approx(1, abs=1e-6)
    assert len(learned.spectrum) == grid.dimensions
    assert (np.diff(learned.spectrum) <= 0).all()


def test_spectrum_and_spread_are_those_of_the_features(category: Category) -> None:
    images = [sample.path for sample in category.train[:6]]
    # Images in another light add to the spectrum; without them it is that of the images alone.
    settings = {"backbone": "efficientnet-lite0", "image.size": 64, "gaussian.light_share": 0}
    detector = Detector("v2", settings, device="cpu")
    detector.fit(images, [sample.path for sample in category.validation[:2]])
    extractor = detector.pipeline_.extractor
    batches = [batch.features for batch in extractor.extract(images) if batch.features is not None]
    scorer = detector.pipeline_.scorer
    assert isinstance(scorer, StatisticalScorer)
    cells = np.concatenate(
        [scorer.patches[0]._positions(features, scorer.grid).double().numpy() for features in batches], axis=1
    )[:, :, scorer.context_dimensions :]
    within = cells - cells.mean(1, keepdims=True)
    pooled = np.einsum("pnd,pne->de", within, within) / (len(cells) * (cells.shape[1] - 1))
    variances = within.var(1, ddof=1)
    learned = evaluate(detector, category).learned
    assert learned is not None
    np.testing.assert_allclose(
        learned.spectrum, np.linalg.eigvalsh(pooled)[::-1], rtol=1e-6, atol=1e-6 * np.trace(pooled)
    )
    expected = np.sqrt((variances / pooled.diagonal()).mean(1))
    np.testing.assert_allclose(learned.by_position.ravel(), expected, rtol=1e-5)


def test_outside_a_region_of_interest_nothing_is_measured(drawn: Path, category: Category) -> None:
    """The reference sees the right half alone, cut out of maps and masks."""
    half = np.zeros((96, 96), bool)
    half[:, 48:] = True
    overrides = {"backbone": "efficientnet-lite0", "image.size": 96}
    looking = Detector("v2", overrides, device="cpu").fit(drawn / "sheet_metal", roi=Roi(half))
    report = evaluate(looking, category)
    verdicts = looking.predict([sample.path for sample in category.test])
    expected, labels = PixelMetrics(), []
    for sample, verdict in zip(category.test, verdicts, strict=True):
        mask = None if sample.mask is None else read_mask(sample.mask)[:, 48:]
        mask = mask if mask is not None and mask.any() else None
        labels.append(mask is not None)
        expected.add(verdict.map[:, 48:], mask, anomalous=labels[-1])
    moved = sum(bool(sample.label) for sample in category.test) - sum(labels)
    assert 0 < moved == report.metrics["n_outside"] and report.metrics["n_bad"] == sum(labels) > 0
    assert [bool(image.sample.label) for image in report.images] == labels
    assert report.metrics["pixel_auroc"] == pytest.approx(expected.auroc().value, abs=1e-12)
    assert report.metrics["aupro_0.05"] == pytest.approx(expected.aupro(0.05).value, abs=1e-12)
    assert f"{moved} of them for all defects outside" in summary_text(report)


def test_unreadable_images_are_skipped_and_named(detector: Detector, drawn: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(drawn / "sheet_metal", tmp_path / "sheet_metal"))
    broken = next((data / "test_public" / "good").iterdir())
    broken.write_bytes(b"not an image")
    report = evaluate(detector, open_dataset(data))
    assert report.metrics["n_skipped"] == 1
    assert str(broken) in report.metrics["skipped"][0]
    assert len(report.images) == 19
    for image in (data / "test_public").rglob("*.png"):
        if "ground_truth" not in image.parts:
            image.write_bytes(b"")
    with pytest.raises(InputError, match="none of the 20 test images could be read"):
        evaluate(detector, open_dataset(data))


def test_without_masks_pixel_metrics_are_none_and_say_why(
    detector: Detector, drawn: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(drawn / "sheet_metal", tmp_path / "sheet_metal"))
    shutil.rmtree(data / "test_public" / "ground_truth")
    report = evaluate(detector, open_dataset(data))
    for name in ("pixel_auroc", "pixel_ap", "aupro_0.30", "aupro_0.05", "seg_f1", "seg_f1_best"):
        assert report.metrics[name] is None
        assert report.metrics["reasons"][name] == "no masks"
    assert report.pro_curve is None
    assert report.pixel_pr_curve is None


def test_saved_report_is_one_whole_folder(report: Report, tmp_path: Path) -> None:
    out = tmp_path / "out"
    save_report(report, out)
    assert {path.name for path in out.glob("[!.]*")} == {
        "metrics.json",
        "performance_summary.txt",
        "report.html",
        *FIGURES,
    }
    assert json.loads((out / "metrics.json").read_text()) == report.metrics
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<tr data-outcome") == len(report.images)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_report_that_fails_leaves_nothing(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("anomalyvfm.evaluation.reports.writing.render_page", fail)
    with pytest.raises(InputError, match="No space left on device"):
        save_report(report, tmp_path / "out")
    assert not list(tmp_path.iterdir())
