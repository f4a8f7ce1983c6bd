"""Bar codes and two-dimensional codes in the picture, which say which part it is. Needs zxing-cpp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.errors import InputError
from anomalyvfm.line.fields import CodePattern


@dataclass(frozen=True)
class Barcodes:
    """Where codes are looked for, and what they say."""

    pattern: CodePattern
    formats: tuple[str, ...] = ()
    """Names as zxing-cpp has them, ``DataMatrix`` or ``Code128``; none: all it knows, which takes longer."""
    area: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    """Left, top, right and bottom of the place of the picture, as shares of its width and height."""

    def check(self) -> None:
        """Raises InputError where zxing-cpp is not there, or does not know one of the formats."""
        if find_spec("zxingcpp") is None:
            raise InputError("barcode: needs zxing-cpp; pip install 'anomalyvfm[barcode]'")
        if unknown := [name for name in self.formats if not _is_known(name)]:
            raise InputError(
                f"barcode.formats: no format {unknown[0]!r}; there are QRCode, DataMatrix, Code128, Code39, "
                "EAN13, ITF, Aztec, PDF417 and others of zxing-cpp"
            )


def _is_known(name: str) -> bool:
    from zxingcpp import barcode_formats_from_str

    try:
        return bool(name) and "," not in name and barcode_formats_from_str(name) is not None
    except ValueError:
        return False


def read_codes(
    image: NDArray[np.uint8], formats: Sequence[str] = (), area: Sequence[float] = (0.0, 0.0, 1.0, 1.0)
) -> list[str]:
    """What the codes in an (H, W, 3) RGB image say, from top to bottom, as people read it: (01)…(21)…"""
    from zxingcpp import ImageFormat, ImageView, barcode_formats_from_str, read_barcodes

    left, top, right, bottom = area
    rows, columns = _pixels(top, bottom, image.shape[0]), _pixels(left, right, image.shape[1])
    place = np.ascontiguousarray(image[rows, columns])
    view = ImageView(place, place.shape[1], place.shape[0], ImageFormat.RGB)
    found = read_barcodes(view, formats=barcode_formats_from_str(",".join(formats)))
    return [code.text for code in sorted(found, key=lambda code: (code.position.top_left.y, code.text))]


def _pixels(begin: float, end: float, count: int) -> slice:
    """Shares of a side as its pixels, at least one."""
    first = min(int(begin * count), count - 1)
    return slice(first, max(first + 1, round(end * count)))
