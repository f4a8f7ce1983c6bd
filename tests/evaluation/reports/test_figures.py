"""What the figures say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from anomalyvfm.evaluation.reports import style
from anomalyvfm.evaluation.reports.curves import draw_curves
from anomalyvfm.evaluation.reports.detections import choose_rows, draw_detections
from anomalyvfm.evaluation.reports.features import draw_features, principal_plane
from anomalyvfm.evaluation.reports.scores import draw_scores
from tests.evaluation.reports.reports import THRESHOLD, make_report, typical


def texts(figure: Figure) -> list[str]:
    legends = [legend for axes in figure.axes if (legend := axes.get_legend())]
    written = [text for axes in figure.axes for text in axes.texts]
    return [text.get_text() for text in written + [text for one in legends for text in one.get_texts()]]


def drawn(axes: Axes) -> dict[str, Bbox]:
    """Where the writing in a panel comes to lie on the canvas, its title included."""
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib's own annotations stop short of it
    writing = [child for child in axes.get_children() if isinstance(child, Text) and child.get_text()]
    boxes = {text.get_text(): text.get_window_extent() for text in writing}
    if legend := axes.get_legend():
        boxes["legend"] = legend.get_window_extent()
    return boxes


def test_scores_are_counted_by_condition_and_kind(tmp_path: Path) -> None:
    conditions = ["overexposed", "regular"] * 8
    figure = draw_scores(typical(tmp_path, conditions=conditions))
    rows = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert rows == ["good, regular", "good, overexposed", "defective, regular", "defective, overexposed"]
    counts = [text for text in texts(figure) if text.endswith("above")]
    assert counts == ["1 of 4 above", "0 of 4 above", "3 of 4 above", "3 of 4 above"]
    kinds = ["a", "b"] * 8
    figure = draw_scores(typical(tmp_path, kinds=kinds))
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["good", "a", "b"]


def test_more_groups_than_can_be_told_apart_become_two(tmp_path: Path) -> None:
    figure = draw_scores(typical(tmp_path, conditions=[f"light {i}" for i in range(16)]))
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["good", "defective"]


def test_histogram_holds_every_image_and_the_threshold(tmp_path: Path) -> None:
    figure = draw_scores(make_report(tmp_path, [0.5] * 4 + [0.5] * 3, [0] * 4 + [1] * 3))
    low, high = figure.axes[0].get_xlim()
    assert low < 0.5 < THRESHOLD < high
    assert {"good (4)", "defective (3)"} <= set(texts(figure))


@pytest.mark.parametrize(
    "bad", [[1.0] * 8, [9.0] * 8, [0.2, 0.4, 0.4, 0.4, 2.4, 2.4, 2.5, 2.6], [-5.0] * 8], ids=str
)
def test_names_of_the_histograms_lie_on_no_bar_and_no_other_writing(bad: list[float], tmp_path: Path) -> None:
    report = make_report(tmp_path, [0.4] * 6 + [2.0, 3.0] + bad, [0] * 8 + [1] * 8, category="long_" * 12)
    axes = draw_scores(report).axes[0]
    boxes = list(drawn(axes).values())
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    bars = [bar for bar in axes.patches if isinstance(bar, Rectangle) and bar.get_height() > 0]
    assert not any(box.overlaps(bar.get_window_extent()) for box in boxes for bar in bars)


@pytest.mark.parametrize("good_above", [0, 4, 8])
def test_writing_in_the_curves_stays_in_its_panel(good_above: int, tmp_path: Path) -> None:
    good = [3.0 + i for i in range(good_above)] + [0.0] * (8 - good_above)
    figure = draw_curves(make_report(tmp_path, [*good, 1.0, 2.0, 3.5, 4, 5, 6, 7, 9], [0] * 8 + [1] * 8))
    for axes in figure.axes:
        for text, box in drawn(axes).items():
            assert axes.bbox.x0 <= box.x0, text
            assert box.x1 <= axes.bbox.x1, text


def test_curves_state_the_metrics_and_where_the_threshold_is(tmp_path: Path) -> None:
    report = typical(tmp_path)
    said = "\n".join(texts(draw_curves(report)))
    assert f"AUROC {report.metrics['image_auroc']:.3f}" in said
    assert f"AU-PRO {report.metrics['aupro_0.05']:.3f} up to FPR 0.05" in said
    assert f"pixels: AP {report.metrics['pixel_ap']:.3f}" in said
    assert "75.0% found" in said
    assert "12.5% of good rejected" in said


@pytest.mark.parametrize(
    ("settings", "reasons"),
    [
        (
            {"scores": [0.0, 3.0], "labels": [0, 1], "masks": False},
            ["No curve: no masks.", "no pixel curve: no masks"],
        ),
        ({"scores": [0.0, 3.0], "labels": [0, 0]}, ["No curve: no defective images."] * 3),
    ],
)
def test_panels_without_a_curve_say_why(
    settings: dict[str, list[float]], reasons: list[str], tmp_path: Path
) -> None:
    said = [text.replace("\n", " ") for text in texts(draw_curves(make_report(tmp_path, **settings)))]  # type: ignore[arg-type]
    assert [text for text in said if "urve" in text] == reasons


def test_detections_show_best_median_worst_and_false_alarms(tmp_path: Path) -> None:
    report = typical(tmp_path)
    rows = [(row.title, row.image.verdict.score) for row in choose_rows(report.images)]
    assert rows == [
        ("best defect", 9.0),
        ("median defect", 4.0),
        ("worst defect", 1.0),
        ("worst false alarm", 3.0),
        ("good, 2nd highest score", 2.1),
    ]


def test_no_image_is_shown_twice(tmp_path: Path) -> None:
    for n in range(1, 5):
        rows = choose_rows(make_report(tmp_path, [float(i) for i in range(n)], [1] * n).images)
        assert len({id(row.image) for row in rows}) == len(rows) == min(n, 3)


def test_a_file_that_has_gone_leaves_a_note(tmp_path: Path) -> None:
    report = typical(tmp_path)
    choose_rows(report.images)[0].image.sample.path.unlink()
    said = texts(draw_detections(report))
    assert sum("the file is gone" in text for text in said) == 1
    assert sum("nothing to find" in text for text in said) == 2


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
def test_principal_plane_is_that_of_the_singular_values(n: int, d: int, seed: int) -> None:
    features = np.random.default_rng(seed).normal(3, 1, (n, d)).astype(np.float32)
    plane, shares = principal_plane(features)
    assert plane.shape == (n, 2)
    if min(n, d) < 2:
        assert not plane.any()
        return
    centred = features.astype(np.float64) - features.astype(np.float64).mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(shares, s[:2] ** 2 / (s**2).sum(), atol=1e-9)
    gap = s[0] - s[1]
    if gap > 1e-3 and (len(s) < 3 or s[1] - s[2] > 1e-3) and s[1] > 1e-3:
        np.testing.assert_allclose(np.abs(plane), np.abs(u[:, :2] * s[:2]), atol=1e-5)


def test_constant_features_lie_in_one_point() -> None:
    plane, shares = principal_plane(np.full((5, 3), 0.1, np.float32))
    assert not plane.any()
    assert not shares.any()


def test_spectrum_says_how_many_directions_hold_the_variance(tmp_path: Path) -> None:
    report = typical(tmp_path)
    assert report.learned is not None
    share = np.cumsum(report.learned.spectrum) / report.learned.spectrum.sum()
    needed = next(i for i, value in enumerate(share, start=1) if value >= 0.9)
    assert any(f"◆ {needed} of 12 directions" in text for text in texts(draw_features(report)))


def test_good_and_bad_differ_in_lightness() -> None:
    def lightness(colour: str) -> float:
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    assert lightness(style.GOOD) - lightness(style.BAD_DARK) > 0.25


@given(st.text(max_size=60), st.integers(3, 40))
def test_shortened_text_fits_and_keeps_both_ends(text: str, length: int) -> None:
    short = style.shorten(text, length)
    assert len(short) <= length
    assert short == text or (short[0] == text[0] and short[-1] == text[-1])
