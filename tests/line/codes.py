"""Pictures with codes in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def with_codes(*codes: tuple[str, str, int, int], side: int = 400) -> NDArray[np.uint8]:
    """A grey picture with codes: format, text, and the row and column at which each begins."""
    from zxingcpp import barcode_format_from_str, create_barcode, write_barcode_to_image

    image = np.full((side, side, 3), 200, np.uint8)
    for kind, text, row, column in codes:
        made = np.asarray(
            write_barcode_to_image(create_barcode(text, barcode_format_from_str(kind)), scale=3)
        )
        image[row : row + made.shape[0], column : column + made.shape[1]] = made[..., None]
    return image
