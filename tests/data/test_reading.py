from __future__ import annotations

import os
import struct
import threading
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFile

from anomalyvfm.data.pixels import ImageError, as_rgb, plane_of
from anomalyvfm.data.reading import read_image, read_mask, read_size
from anomalyvfm.errors import InputError

LOSSLESS = ["PNG", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"]
FORMATS = [*LOSSLESS, "JPEG", "AVIF"]

# Pillow warns about damaged metadata before it gives up on it.
quiet = pytest.mark.filterwarnings("ignore::UserWarning")


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    stream = BytesIO()
    if format_ == "WEBP":
        options.setdefault("lossless", True)
    image.save(stream, format_, **options)
    return stream.getvalue()


def gradient(height: int = 24, width: int = 40) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 10, columns * 6, 255 - columns * 5], axis=2).astype(np.uint8)


def noise(height: int = 48, width: int = 64) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("format_", LOSSLESS)
def test_lossless_colour_comes_back_exactly(format_: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(encoded(Image.fromarray(gradient()), format_))
    image = read_image(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, gradient())
    np.testing.assert_array_equal(read_image(str(path)), image)
    np.testing.assert_array_equal(read_image(path.read_bytes()), image)


@pytest.mark.parametrize("format_", ["JPEG", "AVIF", "HEIF"])
def test_lossy_formats_are_read_close_to_what_was_written(format_: str) -> None:
    if format_ == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    image = read_image(encoded(Image.fromarray(gradient()), format_, quality=95))
    assert np.abs(image.astype(int) - gradient()).mean() < 4


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF"])
def test_one_bit_and_grey_become_three_equal_channels(format_: str) -> None:
    grey = gradient()[:, :, 1]
    image = read_image(encoded(Image.fromarray(grey), format_))
    np.testing.assert_array_equal(image, np.repeat(grey[:, :, None], 3, axis=2))
    bits = grey > 100
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(bits), format_))[:, :, 0], bits * 255)


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF"])
def test_palette_is_read_as_its_colours(format_: str) -> None:
    indexed = Image.fromarray((gradient()[:, :, 0] // 100).astype(np.uint8), "L").convert("P")
    indexed.putpalette([200, 10, 20, 30, 210, 50, 60, 70, 220] + [0] * 759)
    np.testing.assert_array_equal(read_image(encoded(indexed, format_)), np.array(indexed.convert("RGB")))


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_dropped_and_the_colours_under_it_kept(format_: str) -> None:
    alpha = np.full((24, 40, 1), 1, dtype=np.uint8)
    image = Image.fromarray(np.concatenate([gradient(), alpha], axis=2))
    np.testing.assert_array_equal(read_image(encoded(image, format_, **_exact(format_))), gradient())
    grey = Image.merge("LA", [Image.fromarray(gradient()[:, :, 0]), Image.fromarray(alpha[:, :, 0])])
    grey_back = read_image(encoded(grey, format_, **_exact(format_)))
    np.testing.assert_array_equal(grey_back[:, :, 0], gradient()[:, :, 0])


def _exact(format_: str) -> dict[str, object]:
    # WebP is free to change colours under full transparency unless told otherwise.
    return {"exact": True} if format_ == "WEBP" else {}


@pytest.mark.parametrize("format_", ["TIFF", "JPEG"])
def test_cmyk_is_turned_into_rgb_not_its_negative(format_: str) -> None:
    red = Image.new("RGB", (32, 32), (220, 30, 20)).convert("CMYK")
    image = read_image(encoded(red, format_))
    assert np.abs(image.reshape(-1, 3).mean(axis=0) - (220, 30, 20)).max() < 4


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_by_the_white_level(format_: str) -> None:
    values = np.linspace(0, 4095, 32 * 32).reshape(32, 32).astype(np.uint16)
    data = encoded(Image.fromarray(values), format_)
    twelve_bit = read_image(data, white_level=4095)
    np.testing.assert_array_equal(twelve_bit[:, :, 0], np.floor(values * (255 / 4095) + 0.5))
    assert read_image(data).max() == 16
    assert read_image(data, white_level=1000).max() == 255


def test_16_bit_colour_keeps_its_high_bytes_and_refuses_a_white_level() -> None:
    data = _png_16_bit_colour(gradient().astype(np.uint16) * 256 + 77)
    np.testing.assert_array_equal(read_image(data), gradient())
    with pytest.raises(ImageError, match="16-bit colour has no white level"):
        read_image(data, white_level=4095)


def _png_16_bit_colour(values: NDArray[np.uint16]) -> bytes:
    height, width = values.shape[:2]

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_float_tiff_holds_zero_to_one_or_is_refused() -> None:
    values = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    image = read_image(encoded(Image.fromarray(values), "TIFF"))
    np.testing.assert_array_equal(image[:, :, 2], np.floor(values * 255 + 0.5))
    for wrong in (values * 300, values - 0.5, np.where(values > 0.5, np.nan, values).astype(np.float32)):
        with pytest.raises(ImageError, match="between 0 and 1"):
            read_image(encoded(Image.fromarray(wrong), "TIFF"))


def test_32_bit_integers_beyond_16_bit_are_refused() -> None:
    values = np.arange(400, dtype=np.int32).reshape(20, 20) * 160
    np.testing.assert_array_equal(
        read_image(encoded(Image.fromarray(values), "TIFF"))[:, :, 0], (values + 128) // 257
    )
    with pytest.raises(ImageError, match="beyond 0 to 65535"):
        read_image(encoded(Image.fromarray(values * 2), "TIFF"))


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(format_: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(gradient())
    data = encoded(image, format_, exif=exif, **({"quality": 95} if format_ == "JPEG" else {}))
    # Numpy's own words for the eight orientations of the EXIF standard.
    g = gradient()
    t = g.transpose(1, 0, 2)
    upright = [g, g[:, ::-1], g[::-1, ::-1], g[::-1], t, t[:, ::-1], t[::-1, ::-1], t[::-1]][orientation - 1]
    read = read_image(data)
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).mean() < (4 if format_ == "JPEG" else 0.001)
    assert read_size(data) == upright.shape[:2]


@quiet
def test_damaged_exif_does_not_spoil_the_pixels() -> None:
    data = encoded(Image.fromarray(gradient()), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(read_image(data), gradient())


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_read(format_: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], format_, save_all=True, append_images=frames[1:])
    assert (read_image(data) == (255, 0, 0)).all()


def test_of_a_multi_picture_jpeg_the_first_is_read() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime")]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert np.abs(read_image(data).astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("format_", FORMATS)
@quiet
@pytest.mark.parametrize("share", [0.002, 0.01, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused_in_one_line(format_: str, share: float, tmp_path: Path) -> None:
    data = encoded(noise(), format_)
    path = tmp_path / "cut.png"
    path.write_bytes(data[: max(1, int(len(data) * share))])
    with pytest.raises(ImageError) as raised:
        read_image(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("format_", FORMATS)
@settings(deadline=None)
@given(changes=st.lists(st.tuples(st.integers(2, 120), st.integers(0, 255)), min_size=1, max_size=8))
@quiet
def test_any_damage_to_the_header_gives_an_image_or_an_image_error(
    format_: str, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(encoded(noise(20, 20), format_))
    for place, value in changes:
        data[min(place, len(data) - 1)] = value
    try:
        image = read_image(bytes(data), max_pixels=100_000)
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert image.ndim == 3
        assert image.dtype == np.uint8


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"not an image at all", "not a PNG, JPEG, BMP, TIFF, WebP, PGM"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (encoded(noise(), "GIF"), "not a PNG, JPEG, BMP, TIFF, WebP, PGM"),
    ],
)
def test_what_is_no_image_is_named_with_its_path(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "part_07.png"
    path.write_bytes(content)
    for read in (read_image, read_mask, read_size):
        with pytest.raises(ImageError, match=reason) as raised:
            read(path)
        assert str(raised.value).startswith(str(path))


def test_missing_files_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="not a file"):
        read_image(tmp_path)
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(ImageError, match="not a file"):
        read_image(pipe)


def test_a_line_break_in_a_name_stays_out_of_the_message(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as raised:
        read_image(tmp_path / "a\nb.png")
    assert "\n" not in str(raised.value)


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(noise(), "PNG"))

    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # The tests may run as root, whom no file mode stops.
    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(ImageError, match="may not be read"):
        read_image(path)


@pytest.mark.parametrize("format_", FORMATS)
def test_the_pixel_limit_is_checked_before_decoding(format_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(noise(40, 50), format_)
    assert read_image(data, max_pixels=2000).shape == (40, 50, 3)

    def decode(_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    for read in (read_image, read_mask, read_size):
        with pytest.raises(ImageError, match=r"50×40 pixels is over the limit of 1999.*image.max_pixels=N"):
            read(data, max_pixels=1999)


def test_pillows_own_process_wide_limit_is_neither_needed_nor_touched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_image(encoded(noise(40, 50), "PNG")).shape == (40, 50, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
def test_images_too_small_to_inspect_are_refused(size: tuple[int, int]) -> None:
    data = encoded(noise(*size), "PNG")
    with pytest.raises(ImageError, match="too small to inspect"):
        read_image(data)
    assert read_image(data, min_side=1).shape == (*size, 3)


def test_reading_in_many_threads_gives_the_same_pixels() -> None:
    files = [encoded(noise(40 + k, 50), FORMATS[k % 5]) for k in range(20)]
    expected = [read_image(data) for data in files]
    results: dict[int, NDArray[np.uint8]] = {}
    threads = [
        threading.Thread(target=lambda k=k: results.__setitem__(k, read_image(files[k]))) for k in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, image in enumerate(expected):
        np.testing.assert_array_equal(results[k], image)


class TestMask:
    truth = np.zeros((20, 30), dtype=bool)
    truth[4:9, 10:25] = True

    @pytest.mark.parametrize("format_", LOSSLESS)
    @pytest.mark.parametrize("level", [1, 128, 255])
    def test_any_nonzero_grey_or_colour_is_marked(self, format_: str, level: int) -> None:
        grey = (self.truth * level).astype(np.uint8)
        blue = np.stack([grey * 0, grey * 0, grey], axis=2)
        for values in (grey, blue):
            mask = read_mask(encoded(Image.fromarray(values), format_))
            assert mask.dtype == bool
            np.testing.assert_array_equal(mask, self.truth)

    @pytest.mark.parametrize("format_", ["PNG", "TIFF"])
    def test_16_bit_values_below_256_are_marked_too(self, format_: str) -> None:
        values = (self.truth * 3).astype(np.uint16)
        np.testing.assert_array_equal(read_mask(encoded(Image.fromarray(values), format_)), self.truth)

    def test_one_bit_and_float_masks_are_read(self) -> None:
        np.testing.assert_array_equal(read_mask(encoded(Image.fromarray(self.truth), "PNG")), self.truth)
        small = (self.truth * 0.001).astype(np.float32)
        np.testing.assert_array_equal(read_mask(encoded(Image.fromarray(small), "TIFF")), self.truth)

    def test_a_palette_counts_by_its_colours_not_its_indices(self) -> None:
        indexed = Image.fromarray((~self.truth).astype(np.uint8), "L").convert("P")
        indexed.putpalette([255, 255, 255, 0, 0, 0] + [0] * 762)
        np.testing.assert_array_equal(read_mask(encoded(indexed, "PNG")), self.truth)

    def test_alpha_is_ignored(self) -> None:
        opaque = np.full((20, 30, 4), 255, dtype=np.uint8)
        opaque[:, :, :3] *= self.truth[:, :, None]
        np.testing.assert_array_equal(read_mask(encoded(Image.fromarray(opaque), "PNG")), self.truth)

    def test_jpeg_smear_does_not_mark_whole_blocks(self) -> None:
        data = encoded(Image.fromarray((self.truth * 255).astype(np.uint8)), "JPEG", quality=70)
        assert (np.array(Image.open(BytesIO(data))) != 0).sum() > 1.3 * self.truth.sum()
        assert (read_mask(data) != self.truth).sum() <= 5


class TestArrays:
    @pytest.mark.parametrize("shape", [(9, 12), (9, 12, 1), (9, 12, 3), (9, 12, 4)])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.bool_, np.float32, np.float64])
    def test_every_shape_and_type_becomes_the_same_rgb(
        self, shape: tuple[int, ...], dtype: type[np.generic]
    ) -> None:
        bits = np.random.default_rng(1).random(shape) > 0.5
        white = {"u": 2 ** (8 * np.dtype(dtype).itemsize) - 1}.get(np.dtype(dtype).kind, 1)
        image = as_rgb((bits * white).astype(dtype))
        expected = np.broadcast_to(np.atleast_3d(bits)[:, :, :3] * 255, (9, 12, 3))
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, expected)

    def test_eight_bit_rgb_is_not_copied(self) -> None:
        assert np.shares_memory(as_rgb(gradient_ := gradient()), gradient_)

    @settings(deadline=None)
    @given(value=st.integers(0, 65535), white=st.integers(1, 65535))
    def test_16_bit_scaling_is_rounded_and_clipped(self, value: int, white: int) -> None:
        scaled = as_rgb(np.full((1, 1), value, dtype=np.uint16), white_level=white)[0, 0, 0]
        assert abs(float(scaled) - min(value, white) * 255 / white) <= 0.5 + 1e-9

    @pytest.mark.parametrize(
        "array",
        [
            np.zeros(5, dtype=np.uint8),
            np.zeros((5, 5, 2), dtype=np.uint8),
            np.zeros((2, 5, 5, 3), dtype=np.uint8),
            np.zeros((0, 5, 3), dtype=np.uint8),
            np.full((5, 5), 256, dtype=np.int64),
            np.full((5, 5), -1, dtype=np.int16),
            np.zeros((5, 5), dtype=np.complex64),
            np.full((5, 5), 1.02),
            np.full((5, 5), -0.02),
            np.full((5, 5), np.nan),
            np.array([["a"]]),
        ],
    )
    def test_other_arrays_are_refused_in_one_line(self, array: NDArray[np.generic]) -> None:
        with pytest.raises(InputError) as raised:
            as_rgb(array)
        assert "\n" not in str(raised.value)

    def test_what_arithmetic_leaves_of_an_image_is_taken(self) -> None:
        levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
        expected = as_rgb(levels)
        for kind in (np.int16, np.int32, np.int64, np.uint32, np.uint64):
            np.testing.assert_array_equal(as_rgb(levels.astype(kind)), expected)
        overshot = np.where(levels > 250, 1.005, np.where(levels < 5, -0.005, levels / 255))
        clipped = np.where(levels > 250, 255, np.where(levels < 5, 0, levels)).astype(np.uint8)
        np.testing.assert_array_equal(as_rgb(overshot), as_rgb(clipped))

    @pytest.mark.parametrize("white", [0, -1, 65536])
    def test_a_white_level_out_of_range_is_refused(self, white: int) -> None:
        with pytest.raises(InputError, match="white level"):
            as_rgb(np.zeros((3, 3), dtype=np.uint16), white_level=white)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_a_grey_file_is_read_as_one_plane(kind: str) -> None:
    plane = np.random.default_rng(0).integers(0, 256, (24, 30), np.uint8)
    stream = BytesIO()
    Image.fromarray(plane).save(stream, kind)
    image = read_image(stream.getvalue())
    assert image.shape == (24, 30, 3) and plane_of(image).ndim == 2
    with Image.open(BytesIO(stream.getvalue())) as opened:
        np.testing.assert_array_equal(image, np.asarray(opened.convert("RGB")))
