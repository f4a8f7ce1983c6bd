"""TIFF as cameras and microscopes write it: planes apart, 12, 16 and 32 bit, signed, floating point.

Pillow reads what it knows as 8-bit images; of the rest it reads some wrongly and without a word. So every
TIFF's header is read here, and whatever is deeper than 8 bits or lies plane by plane is decoded by tifffile.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data.pixels import WHITE_16_BIT, as_rgb
from anomalyvfm.errors import InputError

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK = 0, 1, 2, 3, 5
_UNSIGNED, _CHUNKY = 1, 1
_PHOTOMETRIC = {_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK}
_MOST_SAMPLES = 5
# Integers whose type does not say what is white are taken for 16-bit where they use this share of it.
_USED = 0.1

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it finds odd in a file is no news


@dataclass(frozen=True)
class TiffHeader:
    """What the first page says of itself. ``deep``: not to be left to Pillow."""

    height: int
    width: int
    orientation: int
    bits: int
    samples: int
    photometric: int
    deep: bool
    pages: bool
    """Whether more pages follow that are no thumbnails."""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width after the turn that the orientation asks for."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(stream: BinaryIO) -> TiffHeader:
    """The first page's header. Raises nearly anything on a damaged file."""
    from tifffile import TIFF, TiffFile

    with TiffFile(stream) as file:
        page: Any = file.pages.first
        chunky = page.planarconfig == _CHUNKY or page.samplesperpixel == 1
        # LZW and others take tifffile a package that Pillow does without; this much it reads as it should.
        grey_16 = (
            page.samplesperpixel == 1 and page.bitspersample == 16 and page.photometric != _WHITE_IS_ZERO
        )
        by_pillow = page.bitspersample <= 8 or (grey_16 and page.compression not in TIFF.DECOMPRESSORS)
        plain = page.sampleformat == _UNSIGNED and by_pillow
        return TiffHeader(
            int(page.imagelength),
            int(page.imagewidth),
            _orientation(page),
            int(page.bitspersample),
            int(page.samplesperpixel),
            int(page.photometric),
            deep=not (plain and chunky) and page.photometric != _PALETTE,
            pages=_has_more(file),
        )


def read_values(stream: BinaryIO, header: TiffHeader) -> NDArray[np.generic]:
    """(H, W, C) values as stored, upright; alpha and other extra channels are left out.

    Raises InputError for more channels or other colours than an image's.
    """
    from tifffile import TIFF, TiffFile

    if header.samples > _MOST_SAMPLES or header.photometric not in _PHOTOMETRIC:
        raise InputError(
            f"{header.samples} channels of photometric kind {header.photometric} are no image to inspect;"
            " save it as grey or RGB"
        )
    stream.seek(0)
    with TiffFile(stream) as file:
        page: Any = file.pages.first
        if int(getattr(page, "imagedepth", 1)) != 1:
            raise InputError("a volume of several slices; save each as a file of its own")
        if page.compression not in TIFF.DECOMPRESSORS:
            raise InputError(
                f"compressed by {page.compression.name}, which takes imagecodecs: pip install imagecodecs,"
                " or save it uncompressed"
            )
        values = np.asarray(page.asarray(maxworkers=1))
        planes = page.planarconfig != _CHUNKY and page.samplesperpixel > 1
    values = values.reshape(-1, header.height, header.width) if planes else values
    values = values.transpose(1, 2, 0) if planes else values.reshape(header.height, header.width, -1)
    kept = 4 if header.photometric == _CMYK else 3 if header.samples >= 3 else 1
    return _turned(values[:, :, :kept], header.orientation)


def to_rgb(values: NDArray[np.generic], header: TiffHeader, white_level: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of `read_values`. Raises InputError where nothing says which value is white."""
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * np.uint8(255)
    kind, size = values.dtype.kind, values.dtype.itemsize
    largest = WHITE_16_BIT if (kind, size) != ("u", 1) else 255
    if kind in "iu" and (kind == "i" or size > 2):
        values = _as_16_bit(values, white_level)
    elif kind == "u" and size == 2 and header.bits < 16:
        largest = (1 << header.bits) - 1
        white_level = min(white_level, largest)
    if header.photometric == _WHITE_IS_ZERO:
        values = 1 - values if kind == "f" else np.asarray(largest - values, values.dtype)
    if header.photometric == _CMYK:
        from PIL import Image

        inks = [as_rgb(values[:, :, ink], white_level=white_level)[:, :, 0] for ink in range(4)]
        return np.asarray(Image.merge("CMYK", [Image.fromarray(ink) for ink in inks]).convert("RGB"))
    return as_rgb(values, white_level=white_level)


def _as_16_bit(values: NDArray[np.generic], white_level: int) -> NDArray[np.uint16]:
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > WHITE_16_BIT:
        raise InputError(
            f"{values.dtype} pixels beyond 0 to 65535 ({lowest} to {highest}); save it with 8 or 16 bit"
        )
    if white_level == WHITE_16_BIT and highest < _USED * WHITE_16_BIT:
        raise InputError(
            f"{values.dtype} pixels do not say which value is white (the largest here is {highest});"
            " give --set image.white_level=255, or whatever it is"
        )
    return values.astype(np.uint16)


def _turned(values: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """As the orientation tag asks for: TIFF 6.0, section 8."""
    if orientation >= 5:
        values = values.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return np.ascontiguousarray(values)


def _orientation(page: Any) -> int:
    tag = page.tags.get(274)
    return tag.value if tag is not None and tag.value in range(1, 9) else 1


def _has_more(file: Any) -> bool:
    try:
        return not file.pages[1].is_reduced
    except Exception:  # there is none, or what follows is damaged, which is no matter
        return False
