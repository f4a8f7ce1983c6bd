"""Pictures on disk, and many of them on one sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

_THUMBNAIL = 224


def contact_sheet(pictures: list[tuple[NDArray[np.uint8], str]], columns: int = 5) -> NDArray[np.uint8]:
    """Pictures (H, W, 3) with a caption each, on one sheet."""
    caption, gap = 22, 8
    rows = -(-len(pictures) // columns)
    cell = (_THUMBNAIL + gap, _THUMBNAIL + caption + gap)
    sheet = Image.new("RGB", (columns * cell[0] + gap, rows * cell[1] + gap), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (picture, text) in enumerate(pictures):
        left, top = gap + index % columns * cell[0], gap + index // columns * cell[1]
        thumbnail = ImageOps.contain(Image.fromarray(picture), (_THUMBNAIL, _THUMBNAIL))
        sheet.paste(thumbnail, (left, top + caption))
        pen.text((left, top + 2), text, fill="black", font_size=14)
    return np.asarray(sheet)


# What is drawn over a photograph: sharp text and lines, a tenth of PNG's time.
_JPEG = {"format": "JPEG", "quality": 92, "subsampling": "4:4:4"}
_PNG = {"format": "PNG", "compress_level": 1}


def save_picture(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a JPEG or PNG, as the name says, under a temporary name, then rename it.

    Grey where all colours of (H, W, 3) are.
    """
    partial = path.with_name(f".{path.name}.partial")
    if picture.ndim == 3 and all(np.array_equal(picture[..., 0], picture[..., other]) for other in (1, 2)):
        picture = picture[..., 0]  # compressed in half the time
    how: dict[str, Any] = _JPEG if path.suffix == ".jpg" else _PNG
    Image.fromarray(picture).save(partial, **how)
    partial.replace(path)
