"""Files to arrays: every image the product sees is read here, as 8-bit RGB, or refused in one line.

PNG, JPEG, BMP, TIFF, WebP, PGM and PPM, JPEG 2000, AVIF, and HEIC with an extra. Files from production lines
are sometimes broken and uploads are sometimes hostile, so the size is checked from the header, before any
pixel is decoded, and whatever the decoder raises on a damaged file becomes an `ImageError`.
"""

from __future__ import annotations

import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from anomalyvfm.data import tiff
from anomalyvfm.data.pixels import MIN_SIDE, WHITE_16_BIT, ImageError, as_rgb, thrice
from anomalyvfm.errors import ImageWarning, InputError

MAX_PIXELS: Final = 178_000_000
"""Default limit on width × height: about 0.7 GB when decoded."""

SUFFIXES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm"}
    | {".jp2", ".j2k", ".avif", ".heic", ".heif"}
)

_FORMATS: Final = "PNG, JPEG, BMP, TIFF, WebP, PGM, PPM, JPEG 2000, AVIF or HEIC"
_ORIENTATION_TAG: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Source = Path | str | bytes


def read_image(
    source: Source,
    *,
    max_pixels: int = MAX_PIXELS,
    white_level: int = WHITE_16_BIT,
    min_side: int = MIN_SIDE,
) -> NDArray[np.uint8]:
    """Read an image file, or a file's bytes, as (H, W, 3) uint8 RGB, upright as its EXIF data says.

    Alpha is dropped, not composited: what the camera recorded is judged, not what a viewer would show.
    16-bit grey, and 16-bit colour in TIFF, is scaled so that `white_level` becomes 255 (4095 for a 12-bit
    camera); 16-bit colour in other formats keeps its high bytes; float TIFF holds 0 to 1. Of an animation or
    a multi-page file the first frame is read, with an ImageWarning.

    Raises ImageError where the file is missing, empty, damaged, of another format, larger than
    `max_pixels`, or has a side under `min_side`.
    """
    with _blaming(source), _opened(source, max_pixels) as (image, values):
        if values is not None:
            if values.header.pages:
                _warn_of_others(source)
            _check_side(source, values.header.width, values.header.height, min_side)
            return tiff.to_rgb(values.read(), values.header, white_level)
        assert image is not None
        _check_side(source, *image.size, min_side)
        if getattr(image, "is_animated", False):
            _warn_of_others(source)
        # The decoder forgets its raw mode once it has run, and only that tells 16-bit colour from 8-bit.
        deep_colour = image.mode in ("RGB", "RGBA", "LA") and ";16" in str(image.tile)
        if deep_colour and white_level != WHITE_16_BIT:
            raise ImageError(
                f"{_name(source)}: 16-bit colour has no white level; save it as 16-bit grey or 8-bit colour"
            )
        return as_rgb_of(image, white_level=white_level)


def as_rgb_of(image: Image.Image, *, white_level: int = WHITE_16_BIT) -> NDArray[np.uint8]:
    """An opened image as (H, W, 3) uint8 RGB, upright; grey as `thrice` gives it.

    Raises InputError for values that are no pixels'.
    """
    upright = _upright(image)
    if upright.mode == "F":
        return as_rgb(np.asarray(upright))
    if upright.mode.startswith("I"):
        return as_rgb(_as_16_bit(np.asarray(upright)), white_level=white_level)
    if upright.mode == "L":
        return thrice(np.array(upright))
    return np.array(upright.convert("RGB"))


def read_mask(source: Source, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.bool_]:
    """Read a defect mask as (H, W) bool: true wherever any colour channel is not zero.

    A palette counts by the colours shown, alpha is ignored. JPEG smears the edges of a mask over whole
    blocks, so there a pixel counts from half of white on. Of a folder, as MVTec LOCO has one for each image,
    all masks count together. Raises ImageError as `read_image` does, and where a folder's sizes differ.
    """
    if isinstance(source, Path) and source.is_dir():
        return _read_masks(source, max_pixels)
    with _blaming(source), _opened(source, max_pixels) as (image, values):
        if values is not None:
            deep_marks: NDArray[np.bool_] = np.any(values.read() != 0, axis=2)
            return deep_marks
        assert image is not None
        lossy = image.format == "JPEG"
        upright = _upright(image)
        deep = upright.mode == "F" or upright.mode.startswith("I")
        channels = np.atleast_3d(np.asarray(upright if deep else upright.convert("RGB")))
        marked: NDArray[np.bool_] = np.any(channels > 127 if lossy else channels != 0, axis=2)
        return marked


def _read_masks(folder: Path, max_pixels: int) -> NDArray[np.bool_]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ImageError(f"{folder}: a folder without masks; put them there or remove it")
    whole = read_mask(paths[0], max_pixels=max_pixels)
    for path in paths[1:]:
        mask = read_mask(path, max_pixels=max_pixels)
        if mask.shape != whole.shape:
            raise ImageError(f"{path}: of another size than {paths[0].name}; make them the same")
        whole |= mask
    return whole


def read_size(source: Source, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """The (height, width) that `read_image` would give, from the header alone."""
    with _blaming(source), _opened(source, max_pixels) as (image, values):
        if values is not None:
            return values.header.upright_size
        assert image is not None
        width, height = image.size
        # Pillow turns the size of a TIFF itself, and looks behind the pixels of a PNG for EXIF data.
        if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
            return height, width
        return (width, height) if _orientation(image) >= 5 else (height, width)


def _as_16_bit(values: NDArray[np.generic]) -> NDArray[np.uint16]:
    # Pillow hands 16-bit files out as 16- or 32-bit integers, depending on format and version.
    if values.dtype.kind == "i" and (values.min() < 0 or values.max() > WHITE_16_BIT):
        raise InputError("32-bit integer pixels beyond 0 to 65535; save it with 8 or 16 bit")
    return values.astype(np.uint16)


@dataclass(frozen=True)
class _Values:
    """A TIFF that is not left to Pillow."""

    stream: BinaryIO
    header: tiff.TiffHeader

    def read(self) -> NDArray[np.generic]:
        return tiff.read_values(self.stream, self.header)


@contextmanager
def _opened(source: Source, max_pixels: int) -> Iterator[tuple[ImageFile | None, _Values | None]]:
    """The parsed header: format and size known and checked, nothing decoded yet; one of the two is None."""
    with _stream(source) as stream:
        driver = _driver(source, stream)
        if driver is TiffImagePlugin.TiffImageFile:
            header = tiff.read_header(stream)
            stream.seek(0)
            _check_pixels(source, header.width, header.height, max_pixels)
            if header.deep:
                yield None, _Values(stream, header)
                return
        image = driver(stream)
        _check_pixels(source, *image.size, max_pixels)
        yield image, None


def _check_pixels(source: Source, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(
            f"{_name(source)}: {width}×{height} pixels is over the limit of {max_pixels};"
            " shrink it or give --set image.max_pixels=N"
        )


def _check_side(source: Source, width: int, height: int, min_side: int) -> None:
    if min(width, height) < min_side:
        raise ImageError(
            f"{_name(source)}: {width}×{height} pixels is too small to inspect;"
            f" both sides must be at least {min_side}"
        )


def _warn_of_others(source: Source) -> None:
    warnings.warn(
        f"{_name(source)}: holds several images, of which the first is read; save each as a file of its own",
        ImageWarning,
        stacklevel=2,
    )


@contextmanager
def _stream(source: Source) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield BytesIO(source)
        return
    path = Path(source)
    # Opening a named pipe would wait forever; a folder gives a clearer line here than from open().
    if not stat.S_ISREG(path.stat().st_mode):
        raise ImageError(f"{_name(source)}: not a file; give an image file")
    with path.open("rb") as stream:
        yield stream


def _driver(source: Source, stream: BinaryIO) -> Callable[[BinaryIO], ImageFile]:
    # Pillow's own Image.open applies a limit that only a process-wide setting can raise, so its format
    # classes are called directly, and only those of the formats above.
    head = stream.read(16)
    stream.seek(0)
    if not head:
        raise ImageError(f"{_name(source)}: the file is empty; copy it again or leave it out")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImagePlugin.PngImageFile
    if head.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.JpegImageFile
    if head.startswith(b"BM"):
        return BmpImagePlugin.BmpImageFile
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return TiffImagePlugin.TiffImageFile
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    if head[:2] in (b"P2", b"P3", b"P5", b"P6") and head[2:3].isspace():
        return PpmImagePlugin.PpmImageFile
    if head.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")):
        return Jpeg2KImagePlugin.Jpeg2KImageFile
    if head[4:8] == b"ftyp":
        if head[8:12] in (b"avif", b"avis"):
            return AvifImagePlugin.AvifImageFile
        if head[8:12] in (b"heic", b"heix", b"mif1", b"heim", b"heis"):
            return _heic(source)
    raise ImageError(f"{_name(source)}: not a {_FORMATS} image; convert it or leave it out")


def _heic(source: Source) -> Callable[[BinaryIO], ImageFile]:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise ImageError(
            f"{_name(source)}: HEIC is read by pillow-heif, which is not installed: pip install"
            " 'anomalyvfm[heic]', or convert it"
        ) from None
    driver: Callable[[BinaryIO], ImageFile] = HeifImageFile
    return driver


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged EXIF block raises nearly anything, and does not spoil the pixels
        return 1
    return value if isinstance(value, int) else 1


@contextmanager
def _blaming(source: Source) -> Iterator[None]:
    """Turn whatever goes wrong with this image into one line that names it."""
    try:
        yield
    except ImageError:
        raise
    except InputError as error:
        raise ImageError(f"{_name(source)}: {error}") from error
    except FileNotFoundError as error:
        raise ImageError(f"{_name(source)}: no such file; check the path") from error
    except PermissionError as error:
        raise ImageError(f"{_name(source)}: may not be read; check its permissions") from error
    except Exception as error:  # Pillow raises nearly every type on a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(
            f"{_name(source)}: damaged or not decodable ({reason}); save it again or leave it out"
        ) from error


def _name(source: Source) -> str:
    # A line break in a file name must not break the one line of the message.
    return "image data" if isinstance(source, bytes) else " ".join(str(source).splitlines())
