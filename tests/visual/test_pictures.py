"""Pictures on one sheet, small ones as large as the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from anomalyvfm.visual.overlay import OUTLINE
from anomalyvfm.visual.pictures import contact_sheet, save_picture


def test_pictures_of_any_size_fill_their_cell_in_shape() -> None:
    colours = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    sizes = ((20, 20), (500, 250), (100, 300))
    pictures = [
        (np.full((*size, 3), colour, np.uint8), "") for size, colour in zip(sizes, colours, strict=True)
    ]
    sheet = contact_sheet(pictures, columns=2)
    assert sheet.shape == (8 + 2 * (224 + 22 + 8), 8 + 2 * (224 + 8), 3)
    for colour, (height, width) in zip(colours, ((224, 224), (224, 112), (75, 224)), strict=True):
        rows, columns = np.nonzero((sheet == colour).all(2))
        assert [int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1] == [height, width]


def test_a_jpeg_keeps_a_thin_outline_sharp(tmp_path: Path) -> None:
    picture = np.full((64, 80, 3), 150, np.uint8)
    picture[20, 10:60] = picture[50, 10:60] = OUTLINE[:3]
    save_picture(picture, tmp_path / "one.jpg")
    with Image.open(tmp_path / "one.jpg") as stored:
        assert stored.format == "JPEG"
        shown = np.asarray(stored).astype(int)
    assert np.abs(shown[20, 12:58] - OUTLINE[:3].astype(int)).max() < 30
    assert np.abs(shown[24:46] - 150).max() < 6  # nothing of the line bleeds into what is beside it
    assert [path.name for path in tmp_path.iterdir()] == ["one.jpg"]
