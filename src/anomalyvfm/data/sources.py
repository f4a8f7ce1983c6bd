"""Where an image comes from: a file, a file's bytes or an array, read alike and named in messages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from anomalyvfm.data.pixels import MIN_SIDE, ImageError, as_rgb
from anomalyvfm.data.stores import StoreImage, images_at, is_address
from anomalyvfm.errors import InputError

ImageSource: TypeAlias = str | Path | bytes | NDArray[Any] | Any
"""An image file, a file's bytes or an open one, an array (H, W), (H, W, 1|3|4), a torch tensor, also with the
channels first, or a PIL image; of a store (`anomalyvfm.data.stores`) an address or a `StoreImage`."""

_CHANNELS = (1, 3, 4)
_GIVE = "give a file, bytes, a numpy array, a torch tensor or a PIL image, one or many"


class Unreadable:
    """A source that is known to give no image, and why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class ReadingSettings(Protocol):
    """The settings that say which files are read, and how."""

    @property
    def max_pixels(self) -> int:
        """Larger images are refused before decoding."""

    @property
    def white_level(self) -> int:
        """16-bit grey value that counts as white."""


def read_source(source: ImageSource, settings: ReadingSettings) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB. Raises ImageError for what is no image."""
    source = _plain(source)
    if isinstance(source, np.ndarray):
        if source.dtype.kind == "f" and source.size and 2 < source.max() <= 255 and source.min() >= 0:
            source = source / 255  # as most programs hold them that do not hold 0 to 1
        try:
            image = as_rgb(source, white_level=settings.white_level)
        except InputError as error:
            raise ImageError(str(error)) from None
        if min(image.shape[:2]) < MIN_SIDE:
            raise ImageError(
                f"an array of shape {source.shape} is too small to inspect; give {MIN_SIDE}×{MIN_SIDE}"
            )
        return image
    image = _decoders().read_image(source, max_pixels=settings.max_pixels, white_level=settings.white_level)
    return np.asarray(image, np.uint8)


def readable_sizes(sources: Iterable[ImageSource], settings: ReadingSettings) -> Iterator[tuple[int, int]]:
    """(height, width) of every image that has a readable header."""
    for given in sources:
        with suppress(ImageError):
            source = _plain(given)
            if isinstance(source, np.ndarray):
                yield source.shape[0], source.shape[1]
                continue
            yield _decoders().read_size(source, max_pixels=settings.max_pixels)


def describe(source: ImageSource) -> str:
    """How messages name a source."""
    if is_address(source):
        return str(StoreImage(source))
    named = isinstance(source, str | Path | StoreImage)
    return str(source) if named else f"an image of {type(source).__name__}"


def source_names(sources: Sequence[ImageSource]) -> list[str]:
    """A short name for each: a file's path below the folder that holds all, or what and which it is."""
    files = ((i, StoreImage(source) if is_address(source) else source) for i, source in enumerate(sources))
    paths = {
        i: source.path if isinstance(source, StoreImage) else Path(source)
        for i, source in files
        if isinstance(source, str | Path | StoreImage)
    }
    folder = os.path.commonpath([path.absolute().parent for path in paths.values()]) if paths else ""
    names = []
    for i, source in enumerate(sources):
        if i in paths:
            name = paths[i].absolute().relative_to(folder).as_posix()
            # A name that is not valid in the system's encoding could not be written down.
            names.append(name.encode(errors="surrogateescape").decode(errors="replace"))
        else:
            kind = "file" if isinstance(source, bytes) or hasattr(source, "read") else "array"
            names.append(f"{kind} {i}")
    return names


def several(images: Any) -> Sequence[ImageSource]:
    """What was given for images as a sequence: one alone, a folder's, those of an array (N, H, W, C), many.

    Raises InputError for a folder without images.
    """
    if is_address(images):
        return list(images_at(images))
    if isinstance(images, str | Path):
        if not Path(images).is_dir():
            return [images]
        from anomalyvfm.data.datasets.listing import given_images

        if not (found := given_images(Path(images))):
            raise InputError(f"{images}: no images there; sub-folders are not searched")
        return found
    if isinstance(images, bytes | bytearray | memoryview) or hasattr(images, "read"):
        return [images]
    if (shape := getattr(images, "shape", None)) is not None:
        of_sources = getattr(images.dtype, "kind", "") in ("O", "U")  # arrays or names in an array
        return list(images) if len(shape) == 4 or of_sources else [images]
    if _is_pil(images):
        return [images]
    if isinstance(images, Sequence):
        return images
    if not isinstance(images, Iterable):
        raise InputError(f"{type(images).__name__}: no images; {_GIVE}")
    return list(images)


def _plain(source: ImageSource) -> str | Path | bytes | NDArray[Any]:
    """A source as a path, a file's bytes or an array. Raises ImageError for what is none."""
    if is_address(source):
        return StoreImage(source).read()
    if isinstance(source, str | Path | bytes):
        return source
    if isinstance(source, np.ndarray):
        return _channels_last(source)
    if isinstance(source, bytearray | memoryview):
        return bytes(source)
    if hasattr(source, "read"):
        if source.seekable():
            source.seek(0)
        return bytes(source.read())
    if _is_pil(source):
        try:
            return np.asarray(_decoders().as_rgb_of(source), np.uint8)
        except InputError as error:
            raise ImageError(str(error)) from None
    if isinstance(source, Unreadable):
        raise ImageError(source.reason)
    if hasattr(source, "detach"):
        return _channels_last(source.detach().cpu().numpy())
    raise ImageError(f"{type(source).__name__}: no image; {_GIVE}")


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """An image as networks hold it, channels first, as all others do."""
    first = array.ndim == 3 and array.shape[0] in _CHANNELS and array.shape[2] not in _CHANNELS
    return array.transpose(1, 2, 0) if first else array


def _is_pil(source: Any) -> bool:
    return hasattr(source, "getbands") and hasattr(source, "transpose")


def _decoders() -> ModuleType:
    """The room that reads files. Raises InputError where Pillow is missing, which arrays do without."""
    try:
        from anomalyvfm.data import reading
    except ImportError:
        raise InputError(
            "image files are read by Pillow, which is not installed: pip install pillow, or give arrays"
        ) from None
    return reading
