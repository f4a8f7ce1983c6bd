"""Pictures on one sheet, small ones as large as the others."""

from __future__ import annotations

import numpy as np

from anomalyvfm.visual.pictures import contact_sheet


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
