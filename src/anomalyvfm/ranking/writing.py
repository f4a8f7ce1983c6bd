"""What a ranking leaves: a table, a contact sheet from the oddest to the plainest, and overlays."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from anomalyvfm.data import ImageError, read_many, read_source
from anomalyvfm.data.sources import ReadingSettings
from anomalyvfm.data.stores import ImageFile
from anomalyvfm.files import shortened
from anomalyvfm.ranking.rank import Ranking
from anomalyvfm.tracking import Tracker, untracked
from anomalyvfm.visual.overlay import heated
from anomalyvfm.visual.pictures import contact_sheet, save_picture

RANKING, SHEET, MAPS = "ranking.csv", "contact_sheet.jpg", "maps"

Maps = Literal["oddest", "all", "none"]
"""Of which images an overlay is written."""

# On the sheet: so many of the oddest, and between them and the plainest so many more at even steps.
_ODDEST, _OTHERS = 60, 40
_COLUMNS = 10
_LONGEST_SIDE, _TILE = 1024, 256


def write_ranking(
    ranking: Ranking,
    images: Sequence[ImageFile],
    out: Path,
    settings: ReadingSettings,
    maps: Maps,
    track: Tracker = untracked,
) -> None:
    """Write all to an existing folder; ``images`` are those that were ranked, in their order."""
    order = ranking.order
    drawn = {"oddest": order[: ranking.odd], "all": order, "none": []}[maps]
    names = {row: f"{MAPS}/{rank:05}-{shortened(images[row].stem)}.jpg" for rank, row in enumerate(drawn, 1)}
    if names:
        (out / MAPS).mkdir()
    shown = _shown(order)
    pictures: dict[int, NDArray[np.uint8]] = {}
    rows = sorted({*drawn, *shown}, key=order.index)
    read = read_many(rows, lambda row: read_source(images[row], settings))
    for row, image in track(read, len(rows), "drawing"):
        if isinstance(image, ImageError):  # gone since it was ranked
            names.pop(row, None)
            continue
        picture = _overlay(image, ranking, row)
        if row in names:
            save_picture(picture, out / names[row])
        if row in shown:
            pictures[row] = _within(picture, _TILE)
    ranks = {row: rank for rank, row in enumerate(order, start=1)}
    tiles = [
        (pictures[row], f"{ranks[row]}  {ranking.scores[row]:.1f}  {images[row].name}")
        for row in shown
        if row in pictures
    ]
    save_picture(contact_sheet(tiles, _COLUMNS), out / SHEET)
    with (out / RANKING).open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("rank", "path", "score", "map", "error"))
        table.writerows(_lines(ranking, images, names))


def _lines(
    ranking: Ranking, images: Sequence[ImageFile], names: dict[int, str]
) -> Iterator[tuple[object, ...]]:
    for rank, row in enumerate(ranking.order, start=1):
        yield rank, images[row], f"{ranking.scores[row]:.4f}", names.get(row, ""), ""
    for row, error in ranking.broken.items():
        yield "", images[row], "", "", error


def _shown(order: Sequence[int]) -> list[int]:
    """Those on the contact sheet, in the order of the ranking."""
    others = order[_ODDEST:]
    steps = np.linspace(0, len(others) - 1, min(_OTHERS, len(others))).round().astype(int)
    return [*order[:_ODDEST], *(others[step] for step in steps.tolist())]


def _overlay(image: NDArray[np.uint8], ranking: Ranking, row: int) -> NDArray[np.uint8]:
    """The image (H, W, 3), no side over 1024 pixels, with heat where it is unlike the others."""
    picture = _within(image, _LONGEST_SIDE)
    map_ = ranking.frame.restore(ranking.maps[row], (picture.shape[0], picture.shape[1]))
    low, high = ranking.heat_range
    hot = map_ > low
    picture[hot] = heated(picture[hot], (map_[hot].astype(float) - low) / (high - low))
    return picture


def _within(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A copy of a picture (H, W, 3), made smaller where a side is over so many pixels."""
    longest = min(side, max(picture.shape[:2]))
    return np.array(ImageOps.contain(Image.fromarray(picture), (longest, longest), Image.Resampling.BILINEAR))
