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
from anomalyvfm.errors import InputError

ImageSource: TypeAlias = str | Path | bytes | NDArray[Any]
"""An image file, a file's bytes, or an array (H, W), (H, W, 1|3|4)."""


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
    if isinstance(source, np.ndarray):
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
    for source in sources:
        if isinstance(source, np.ndarray):
            yield source.shape[0], source.shape[1]
            continue
        with suppress(ImageError):
            yield _decoders().read_size(source, max_pixels=settings.max_pixels)


def describe(source: ImageSource) -> str:
    """How messages name a source."""
    return str(source) if isinstance(source, str | Path) else f"an image of {type(source).__name__}"


def source_names(sources: Sequence[ImageSource]) -> list[str]:
    """A short name for each: a file's path below the folder that holds all, or what and which it is."""
    paths = {i: Path(source) for i, source in enumerate(sources) if isinstance(source, str | Path)}
    folder = os.path.commonpath([path.absolute().parent for path in paths.values()]) if paths else ""
    names = []
    for i, source in enumerate(sources):
        if i in paths:
            name = paths[i].absolute().relative_to(folder).as_posix()
            # A name that is not valid in the system's encoding could not be written down.
            names.append(name.encode(errors="surrogateescape").decode(errors="replace"))
        else:
            names.append(f"{'file' if isinstance(source, bytes) else 'array'} {i}")
    return names


def _decoders() -> ModuleType:
    """The room that reads files. Raises InputError where Pillow is missing, which arrays do without."""
    try:
        from anomalyvfm.data import reading
    except ImportError:
        raise InputError(
            "image files are read by Pillow, which is not installed: pip install pillow, or give arrays"
        ) from None
    return reading
