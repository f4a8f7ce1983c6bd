"""TIFF of every sample format, depth, byte order and planar layout, as tifffile writes it."""

from __future__ import annotations

from io import BytesIO
from itertools import product
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from anomalyvfm.data.pixels import ImageError
from anomalyvfm.data.reading import read_image, read_mask, read_size
from anomalyvfm.errors import ImageWarning

SHAPE = (24, 40)
TYPES = ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"]


def shades(channels: int) -> NDArray[np.float64]:
    """(H, W, C) from 0 to 1, unlike along every axis."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    planes = [rows / 23, columns / 39, 1 - rows / 46, (rows + columns) / 80]
    return np.stack(planes[:channels], axis=2)


def stored(values: NDArray[Any], planar: bool, **options: Any) -> bytes:
    stream = BytesIO()
    colours = values.shape[2]
    options.setdefault("photometric", "rgb" if colours >= 3 else "minisblack")
    if colours == 1:
        data = values[:, :, 0]
    else:
        data = values.transpose(2, 0, 1) if planar else values
        options["planarconfig"] = "separate" if planar else "contig"
        if colours in (2, 4) and options["photometric"] != "separated":
            options.setdefault("extrasamples", ["unassalpha"])
    tifffile.imwrite(stream, data, metadata=None, **options)
    return stream.getvalue()


def as_type(wanted: NDArray[np.float64], kind: str) -> tuple[NDArray[Any], int]:
    """Values of a type, and the white level they are to be read by."""
    dtype = np.dtype(kind)
    if dtype.kind == "f":
        return wanted.astype(dtype), 65535
    white = {1: 255 if dtype.kind == "u" else 127, 2: 65535 if dtype.kind == "u" else 32767, 4: 65535}
    return np.round(wanted * white[dtype.itemsize]).astype(dtype), white[dtype.itemsize]


@pytest.mark.parametrize(
    ("kind", "order", "planar", "channels", "layout"),
    list(
        product(
            TYPES, "<>", [False, True], [1, 2, 3, 4], [{}, {"tile": (16, 16)}, {"compression": "deflate"}]
        )
    ),
)
def test_every_format_comes_back_as_it_was_written(
    kind: str, order: str, planar: bool, channels: int, layout: dict[str, Any]
) -> None:
    wanted = shades(channels)
    values, white = as_type(wanted, kind)
    data = stored(values, planar, byteorder=order, **layout)
    image = read_image(data, white_level=white if kind not in ("u1", "u2") else 65535)
    expected = np.repeat(wanted[:, :, :1], 3, axis=2) if channels < 3 else wanted[:, :, :3]
    np.testing.assert_allclose(image, expected * 255, atol=1.6 if kind == "i1" else 1.1)  # i1 has 127 levels
    assert read_size(data) == SHAPE
    marks = values[:, :, :1] if channels < 3 else values[:, :, :3]
    np.testing.assert_array_equal(read_mask(data), np.any(marks != 0, axis=2))


@pytest.mark.parametrize(("kind", "planar"), list(product(["u1", "u2", "f4"], [False, True])))
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_to_every_format(kind: str, planar: bool, orientation: int) -> None:
    values, _ = as_type(shades(3), kind)
    image = read_image(stored(values, planar, extratags=[(274, 3, 1, orientation, True)]))
    as_eight = read_image(
        stored(as_type(shades(3), "u1")[0], False, extratags=[(274, 3, 1, orientation, True)])
    )
    assert image.shape == as_eight.shape
    assert np.abs(image.astype(int) - as_eight).max() <= 1
    assert read_size(stored(values, planar, extratags=[(274, 3, 1, orientation, True)])) == image.shape[:2]


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_white_may_be_zero(kind: str) -> None:
    values, _ = as_type(shades(1), kind)
    image = read_image(stored(values, False, photometric="miniswhite"))
    np.testing.assert_allclose(image[:, :, 0], 255 - shades(1)[:, :, 0] * 255, atol=1)


@pytest.mark.parametrize("planar", [False, True])
def test_deep_cmyk_is_turned_into_the_same_rgb(planar: bool) -> None:
    red = np.array(Image.new("RGB", (SHAPE[1], SHAPE[0]), (220, 30, 20)).convert("CMYK"))
    image = read_image(stored(red.astype(np.uint16) * 257, planar, photometric="separated"))
    assert np.abs(image.reshape(-1, 3).mean(axis=0) - (220, 30, 20)).max() < 4


def test_16_bit_colour_takes_a_white_level() -> None:
    values = np.round(shades(3) * 4095).astype(np.uint16)
    for planar in (False, True):
        image = read_image(stored(values, planar), white_level=4095)
        np.testing.assert_allclose(image, shades(3) * 255, atol=1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (shades(1) * 255, r"int32 pixels do not say which value is white \(the largest here is 255\)"),
        (shades(1) * 1e6, "int32 pixels beyond 0 to 65535"),
        (-shades(1) * 9, "int32 pixels beyond 0 to 65535"),
    ],
)
def test_integers_whose_white_nobody_knows_are_refused(values: NDArray[Any], message: str) -> None:
    data = stored(values.astype(np.int32), False)
    with pytest.raises(ImageError, match=message):
        read_image(data)
    if "white" in message:
        assert read_image(data, white_level=255).max() == 255


def test_what_is_no_flat_image_is_refused() -> None:
    with pytest.raises(ImageError, match="7 channels"):
        read_image(stored(np.zeros((*SHAPE, 7), np.uint16), False, photometric="minisblack"))


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_16_bit_grey_compressed_by_lzw_is_read_and_the_rest_says_what_it_takes(kind: str) -> None:
    values, _ = as_type(shades(1), kind)
    stream = BytesIO()
    Image.fromarray(values[:, :, 0]).save(stream, "TIFF", compression="tiff_lzw")
    np.testing.assert_allclose(read_image(stream.getvalue())[:, :, 0], shades(1)[:, :, 0] * 255, atol=1)


def test_further_pages_are_named_and_thumbnails_are_not() -> None:
    values, _ = as_type(shades(1), "u2")
    for kind, said in ((0, True), (1, False)):
        stream = BytesIO()
        with tifffile.TiffWriter(stream) as file:
            file.write(values[:, :, 0], metadata=None)
            file.write(values[:12, :20, 0], metadata=None, subfiletype=kind)
        if said:
            with pytest.warns(ImageWarning, match="holds several images, of which the first is read"):
                read_image(stream.getvalue())
        else:
            read_image(stream.getvalue())
