"""sample_detections.png: the best, the median and the worst found defect, and the worst false alarms."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.data import ImageError, read_image, read_mask
from anomalyvfm.evaluation.report import Judged, Report
from anomalyvfm.evaluation.reports import style
from anomalyvfm.visual.overlay import outline

_SIDE = 420  # pixels of a panel: what its size in the figure can show
# Inches.
_PANEL, _GAP, _LABEL, _TOP, _BOTTOM = 2.5, 0.12, 2.35, 0.42, 0.95
_COLUMNS = ("image", "map", "mask as given out", "truth")


class Row(NamedTuple):
    title: str
    image: Judged


def choose_rows(images: list[Judged]) -> list[Row]:
    """Defects by falling score: first, middle and last; then the two good images with the highest scores."""
    bad = sorted((i for i in images if i.sample.label), key=lambda i: -i.verdict.score)
    good = sorted((i for i in images if not i.sample.label), key=lambda i: -i.verdict.score)
    titles = {0: "best defect", len(bad) // 2: "median defect", len(bad) - 1: "worst defect"}
    if len(bad) == 1:
        titles = {0: "the only defect"}
    rows = [Row(title, bad[index]) for index, title in titles.items() if bad]
    for rank, image in enumerate(good[:2]):
        ordinal = ("", "2nd ")[rank]
        title = f"{ordinal}worst false alarm" if image.verdict.anomalous else f"good, {ordinal}highest score"
        rows.append(Row(title, image))
    return rows


def draw_detections(report: Report) -> Figure:
    rows = choose_rows(report.images)
    heights = [float(np.clip(np.divide(*row.image.verdict.size), 0.45, 1.5)) for row in rows]
    height = _TOP + _PANEL * sum(heights) + _GAP * (len(rows) - 1) + _BOTTOM
    figure = style.new_figure(_LABEL + (_PANEL + _GAP) * len(_COLUMNS), height)
    # Placed by hand: all sizes are known, and a layout engine takes seconds for so many panels.
    figure.set_layout_engine("none")
    labels, panels, top = [], [], height - _TOP
    for share in heights:
        top -= _PANEL * share
        lefts = [_GAP, *(_LABEL + (_PANEL + _GAP) * i for i in range(len(_COLUMNS)))]
        label, *row_panels = (
            _place(figure, left, top, width, _PANEL * share)
            for left, width in zip(lefts, [_LABEL - _GAP, *[_PANEL] * len(_COLUMNS)], strict=True)
        )
        labels.append(label)
        panels.append(row_panels)
        top -= _GAP
    shown = None
    for label, axes, row in zip(labels, panels, rows, strict=True):
        _label(label, row)
        for panel in axes:
            panel.set_xticks([])
            panel.set_yticks([])
            panel.spines[:].set_visible(False)
        try:
            heat = _draw_row(axes, row.image, report.model["settings"]["image"])
        except ImageError:
            _note(axes[0], "the file is gone or\nhas changed since")
            continue
        shown = heat or shown
    for panel, name in zip(panels[0], _COLUMNS, strict=True):
        panel.set_title(name, fontsize=12, fontweight="bold", color=style.INK)
    if shown is not None:
        _heat_scale(figure, shown, rows[0].image)
    return figure


def _place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """New axes at a place given in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _draw_row(axes: list[Axes], image: Judged, settings: dict[str, Any]) -> Any:
    verdict = image.verdict
    picture = read_image(
        image.sample.path, max_pixels=settings["max_pixels"], white_level=settings["white_level"]
    )
    scale = min(1.0, _SIDE / max(verdict.size))
    size = (max(1, round(scale * verdict.size[0])), max(1, round(scale * verdict.size[1])))
    small = np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR))
    axes[0].imshow(small)
    heat = axes[1].imshow(
        verdict.map_of(size),
        cmap=style.HEAT,
        norm=Normalize(0, max(2 * verdict.high_threshold, 1e-6)),
    )
    _highlight(axes[2], small, _shrunk(verdict.mask, size))
    if not verdict.mask.any():
        _note(axes[2], "nothing outlined" if verdict.anomalous else "judged good:\nnothing outlined")
    truth = None if image.sample.mask is None else read_mask(image.sample.mask)
    _highlight(axes[3], small, _shrunk(truth, size))
    if truth is None:
        _note(axes[3], "defective; no mask\nin the data" if image.sample.label else "good:\nnothing to find")
    return heat


def _highlight(axes: Axes, picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
    """The picture darkened but where the mask is, with a double outline that shows on any background."""
    shown = np.where(mask[..., None], picture, (0.5 * picture).astype(np.uint8))
    if mask.any():
        thickness = max(1, round(max(mask.shape) / 160))
        outline(shown, mask, thickness)
    axes.imshow(shown)


def _shrunk(mask: NDArray[np.bool_] | None, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask at a smaller size; a defect of one pixel stays visible."""
    if mask is None:
        return np.zeros(size, np.bool_)
    coverage = Image.fromarray(mask.astype(np.float32)).resize(size[::-1], Image.Resampling.BOX)
    share = np.asarray(coverage)
    solid: NDArray[np.bool_] = share >= 0.5
    return solid if solid.any() else share > 0


def _label(axes: Axes, row: Row) -> None:
    verdict, sample = row.image.verdict, row.image.sample
    lines = [f"score {verdict.score:.2f}, p {verdict.p_value:.3f}"]
    lines.append("judged anomalous" if verdict.anomalous else "judged good")
    lines += [style.shorten(text, 26) for text in (sample.condition, sample.path.name) if text]
    axes.axis("off")
    axes.text(0, 0.56, row.title, fontsize=12, fontweight="bold", color=style.INK, va="bottom")
    axes.text(
        0, 0.52, style.plain("\n".join(lines)), fontsize=9, color=style.MUTED, va="top", linespacing=1.5
    )


def _note(axes: Axes, text: str) -> None:
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=10,
        color=style.INK,
        bbox=style.backed(5),
    )


def _heat_scale(figure: Figure, shown: Any, image: Judged) -> None:
    width = 2.5 * _PANEL
    axes = _place(figure, _LABEL + (len(_COLUMNS) * (_PANEL + _GAP) - width) / 2, 0.55, width, 0.13)
    bar = figure.colorbar(shown, cax=axes, orientation="horizontal", extend="max")
    bar.set_label(
        "map: standard deviations of good pixels, one scale for all rows; line: where an outlined region"
        " must reach",
        fontsize=10,
    )
    bar.ax.tick_params(labelsize=9)
    bar.ax.axvline(image.verdict.high_threshold, color="white", linewidth=2.5)
    bar.ax.axvline(image.verdict.high_threshold, color="black", linewidth=1)
    bar.outline.set_visible(False)
